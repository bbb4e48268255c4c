use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-listen-ipv6",
    group: Group::Network,
    tries: "Offer a service on a port that the kernel chooses, over IPv6",
    who: Who::Anyone,
    compat: Compat::Open("listening without an address is not a bind"),
    recorded: Recorded::As(&["bind"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    net::listens(net::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?)
}
