use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-rds",
    group: Group::Network,
    tries: "Make a reliable datagram socket (RDS)",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks see Internet sockets only"),
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    net::socket(libc::AF_RDS, libc::SOCK_SEQPACKET, 0).map(drop)
}
