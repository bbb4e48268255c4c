use std::os::fd::AsRawFd as _;

use io_uring::{opcode, types};

use crate::sys::net::{self, Address};
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-connect-unix",
    group: Group::IoUring,
    tries: "Connect to a Unix socket through io_uring",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::Connect::CODE)?;
    let fd = net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let to = Address::path(&scene.victim.stream)?;
    let entry = opcode::Connect::new(types::Fd(fd.as_raw_fd()), to.as_ptr(), to.length()).build();
    // SAFETY: the address lives across the call.
    unsafe { ring.perform(&entry) }.step("connecting")?;
    net::greets(fd)
}
