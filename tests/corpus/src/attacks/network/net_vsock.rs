use nix::sys::socket::VsockAddr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-vsock",
    group: Group::Network,
    tries: "Offer a service to the host of a virtual machine",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks see Internet sockets only"),
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)?;
    net::bind(&fd, &Address::of(&VsockAddr::new(libc::VMADDR_CID_ANY, libc::VMADDR_PORT_ANY)))?;
    net::listens(fd)
}
