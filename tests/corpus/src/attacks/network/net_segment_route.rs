use std::net::Ipv6Addr;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{SockaddrIn6, getsockname};

use crate::scene::NOWHERE;
use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-segment-route",
    group: Group::Network,
    tries: "Send elsewhere than to an allowed address, by a routing header of IPv6",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks see the destination, not the way to it"),
    recorded: Recorded::As(&["socket", "connect", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    // Length, type (segments), segments left, the last one, flags, tag. The first segment is for the destination.
    let mut header = vec![0, 4, 4, 1, 1, 0, 0, 0];
    header.extend([Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST].map(|ip| ip.octets()).concat());
    let header: [u8; 40] = header.try_into().expect("two segments");
    net::set(&fd, libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &header)?;
    net::connect(&fd, &Address::inet(NOWHERE, scene.victim.tcp_allowed))?; // sends nothing
    let way: SockaddrIn6 = getsockname(fd.as_raw_fd()).step("getsockname")?;
    verify(way.ip() == Ipv6Addr::LOCALHOST, "the way of packets")
}
