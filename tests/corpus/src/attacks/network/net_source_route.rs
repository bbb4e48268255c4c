use std::net::Ipv4Addr;

use nix::errno::Errno;

use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-source-route",
    group: Group::Network,
    tries: "Choose the way of packets by an option of theirs",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    // Loose source routing by one hop, and the end of the list.
    let [a, b, c, d] = Ipv4Addr::LOCALHOST.octets();
    let set = net::set(net::udp()?, libc::IPPROTO_IP, libc::IP_OPTIONS, &[131, 7, 4, a, b, c, d, 0]);
    // The kernel says so to whom it refuses the capability: the option itself is right.
    sys::said(set, Errno::EINVAL, Errno::EPERM)
}
