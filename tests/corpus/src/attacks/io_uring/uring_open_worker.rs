use std::io::Read as _;
use std::os::fd::FromRawFd as _;

use io_uring::{opcode, squeue, types};

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-open-worker",
    group: Group::IoUring,
    tries: "Open a file through a worker of io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::OpenAt::CODE)?;
    let path = sys::c(&scene.secret);
    let open =
        opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build().flags(squeue::Flags::ASYNC);
    // SAFETY: the path lives across the call, and the descriptor is fresh.
    let mut file = unsafe { std::fs::File::from_raw_fd(ring.perform(&open).step("opening")?) };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).step("reading")?;
    scene.is_secret(bytes)
}
