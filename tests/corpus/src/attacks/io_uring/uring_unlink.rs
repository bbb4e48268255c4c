use io_uring::{opcode, types};

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-unlink",
    group: Group::IoUring,
    tries: "Remove a file through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::UnlinkAt::CODE)?;
    let path = sys::c(&scene.secret);
    let entry = opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build();
    // SAFETY: what it points to lives across the call.
    unsafe { ring.perform(&entry) }.step("removing")?;
    verify(!scene.secret.exists(), "removing it")
}
