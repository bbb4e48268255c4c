use io_uring::{opcode, types};

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-truncate",
    group: Group::IoUring,
    tries: "Truncate a file through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open", "path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::OpenAt::CODE)?;
    let path = sys::c(&scene.secret);
    let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr())
        .flags(libc::O_WRONLY | libc::O_TRUNC)
        .build();
    // SAFETY: the path lives across the call.
    unsafe { ring.perform(&open) }.step("opening")?;
    verify(std::fs::metadata(&scene.secret).step("looking")?.len() == 0, "truncating")
}
