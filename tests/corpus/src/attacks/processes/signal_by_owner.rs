use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "signal-by-owner",
    group: Group::Processes,
    tries: "Make another process the receiver of the signals of a socket",
    who: Who::Anyone,
    compat: Compat::Open(
        "the kernel checks a receiver when it signals it, which this level refuses, not when it is named",
    ),
    recorded: Recorded::As(&["signal", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (socket, _peer) = UnixDatagram::pair().step("socketpair")?;
    // SAFETY: takes integers.
    let set = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETOWN, scene.victim.pid) };
    sys::result(set.into()).step("F_SETOWN").map(drop)
}
