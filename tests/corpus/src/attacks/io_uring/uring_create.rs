use io_uring::{opcode, types};

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-create",
    group: Group::IoUring,
    tries: "Create a file through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::OpenAt::CODE)?;
    let new = scene.outside.join("new");
    let path = sys::c(&new);
    let create = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr());
    let create = create.flags(libc::O_CREAT | libc::O_WRONLY).mode(0o600).build();
    // SAFETY: the path lives across the call.
    unsafe { ring.perform(&create) }.step("creating")?;
    verify(new.exists(), "the new file")
}
