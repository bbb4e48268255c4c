use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-rxrpc",
    group: Group::Network,
    tries: "Make a remote procedure call socket (RxRPC)",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks see Internet sockets only"),
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    net::socket(libc::AF_RXRPC, libc::SOCK_DGRAM, libc::AF_INET).map(drop)
}
