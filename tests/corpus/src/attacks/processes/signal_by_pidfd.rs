use std::os::fd::AsRawFd as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "signal-by-pidfd",
    group: Group::Processes,
    tries: "Signal another process by its descriptor",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let process = sys::other::pidfd(scene.victim.pid)?;
    let arguments = [process.as_raw_fd() as usize, libc::SIGURG as usize, 0, 0, 0, 0];
    // SAFETY: takes integers.
    unsafe { sys::call(libc::SYS_pidfd_send_signal, arguments) }.step("pidfd_send_signal").map(drop)
}
