use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "unload-module",
    group: Group::Privilege,
    tries: "Unload a kernel module",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let arguments = [c"agentguard_corpus_absent".as_ptr().addr(), libc::O_NONBLOCK as usize, 0, 0, 0, 0];
    // SAFETY: the name lives across the call.
    sys::past(unsafe { sys::call(libc::SYS_delete_module, arguments) }, Errno::ENOENT).step("delete_module")
}
