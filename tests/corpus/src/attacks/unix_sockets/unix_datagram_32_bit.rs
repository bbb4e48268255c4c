use std::os::fd::AsRawFd as _;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-datagram-32-bit",
    group: Group::UnixSockets,
    tries: "Send to a Unix socket by the system call of 32-bit programs",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::unix(scene, libc::SOCK_DGRAM, "me")?;
    let to = Address::path(&scene.victim.datagram)?;
    sys::entry32::socketcall(sys::entry32::SENDTO, fd.as_raw_fd(), &to)?;
    net::greets(fd)
}
