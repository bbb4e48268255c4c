use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "load-module",
    group: Group::Privilege,
    tries: "Load a kernel module from memory",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let garbage = [0_u8; 64]; // the kernel gets as far as to see that it is none
    let arguments = [garbage.as_ptr().addr(), garbage.len(), c"".as_ptr().addr(), 0, 0, 0];
    // SAFETY: image and parameters live across the call.
    sys::past(unsafe { sys::call(libc::SYS_init_module, arguments) }, Errno::ENOEXEC).step("init_module")
}
