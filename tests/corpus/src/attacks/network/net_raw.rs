use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-raw",
    group: Group::Network,
    tries: "Send an ICMP echo request from a raw socket",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    net::pings(net::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?)
}
