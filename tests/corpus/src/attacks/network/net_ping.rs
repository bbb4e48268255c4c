use nix::errno::Errno;

use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-ping",
    group: Group::Network,
    tries: "Send an ICMP echo request from a datagram socket",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks do not see ICMP that is sent without connecting"),
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP);
    let fd = sys::absent_if(fd, Errno::EACCES, "ping for everyone (net.ipv4.ping_group_range)")?;
    net::pings(fd)
}
