use std::os::fd::AsRawFd as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "signal-by-owner",
    group: Group::Processes,
    tries: "Have the kernel signal another process as the owner of a socket",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["signal", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::other::signal_by_owner(scene, |socket, victim| {
        // SAFETY: takes integers.
        sys::result(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETOWN, victim) }.into())
    })
}
