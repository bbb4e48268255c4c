use std::os::fd::AsRawFd as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

const FIOSETOWN: libc::Ioctl = 0x8901;

pub(crate) const ATTACK: Attack = Attack {
    name: "signal-by-owner-ioctl",
    group: Group::Processes,
    tries: "Have the kernel signal another process as the owner of a socket, named with an ioctl",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["signal", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::other::signal_by_owner(scene, |socket, victim| {
        // SAFETY: the id lives across the call.
        sys::result(unsafe { libc::ioctl(socket.as_raw_fd(), FIOSETOWN, &raw const victim) }.into())
    })
}
