use io_uring::{opcode, types};

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-mkdir",
    group: Group::IoUring,
    tries: "Make a directory through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::MkDirAt::CODE)?;
    let new = scene.outside.join("new");
    let path = sys::c(&new);
    let entry = opcode::MkDirAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).mode(0o700).build();
    // SAFETY: what it points to lives across the call.
    unsafe { ring.perform(&entry) }.step("making it")?;
    verify(new.is_dir(), "the directory")
}
