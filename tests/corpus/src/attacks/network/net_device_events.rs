use nix::sys::socket::{NetlinkAddr, SockaddrLike as _};

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-device-events",
    group: Group::Network,
    tries: "Listen to the kernel's messages about devices",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks see Internet sockets only"),
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT)?;
    // SAFETY: integers; zero is a value of all of them.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = 1;
    // SAFETY: a complete address of its family.
    let address = unsafe { NetlinkAddr::from_raw((&raw const address).cast(), None) };
    net::bind(fd, &Address::of(&address.expect("a netlink address")))
}
