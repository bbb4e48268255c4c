use io_uring::{opcode, types};

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-symlink",
    group: Group::IoUring,
    tries: "Make a symbolic link through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::SymlinkAt::CODE)?;
    let new = scene.outside.join("new");
    let path = sys::c(&new);
    let entry = opcode::SymlinkAt::new(types::Fd(libc::AT_FDCWD), c"secret".as_ptr(), path.as_ptr()).build();
    // SAFETY: what it points to lives across the call.
    unsafe { ring.perform(&entry) }.step("making it")?;
    verify(new.is_symlink(), "the link")
}
