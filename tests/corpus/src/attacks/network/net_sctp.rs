use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-sctp",
    group: Group::Network,
    tries: "Connect over SCTP",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks do not see SCTP"),
    recorded: Recorded::As(&["connect", "socket"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?;
    net::connects(fd, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp))
}
