use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

const FIOSETOWN: libc::Ioctl = 0x8901;

pub(crate) const ATTACK: Attack = Attack {
    name: "signal-by-owner-ioctl",
    group: Group::Processes,
    tries: "Make another process the receiver of the signals of a socket, with an ioctl",
    who: Who::Anyone,
    compat: Compat::Open(
        "the kernel checks a receiver when it signals it, which this level refuses, not when it is named",
    ),
    recorded: Recorded::As(&["signal", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (socket, _peer) = UnixDatagram::pair().step("socketpair")?;
    let pid = scene.victim.pid;
    // SAFETY: the id lives across the call.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), FIOSETOWN, &raw const pid) };
    sys::result(set.into()).step("FIOSETOWN").map(drop)
}
