use io_uring::{opcode, types};

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-rename",
    group: Group::IoUring,
    tries: "Move a file through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::RenameAt::CODE)?;
    let new = scene.own("moved");
    let (old, path) = (sys::c(&scene.secret), sys::c(&new));
    let entry = opcode::RenameAt::new(
        types::Fd(libc::AT_FDCWD),
        old.as_ptr(),
        types::Fd(libc::AT_FDCWD),
        path.as_ptr(),
    )
    .build();
    // SAFETY: what it points to lives across the call.
    unsafe { ring.perform(&entry) }.step("renaming")?;
    scene.reads_secret(new)
}
