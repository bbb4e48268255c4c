use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "load-module-file",
    group: Group::Privilege,
    tries: "Load a kernel module from a file",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    std::fs::write(scene.own("module.ko"), [0; 64]).step("writing")?;
    let file = File::open(scene.own("module.ko")).step("opening")?; // garbage: see `load_module`
    let arguments = [file.as_raw_fd() as usize, c"".as_ptr().addr(), 0, 0, 0, 0];
    // SAFETY: the parameters live across the call.
    sys::past(unsafe { sys::call(libc::SYS_finit_module, arguments) }, Errno::ENOEXEC).step("finit_module")
}
