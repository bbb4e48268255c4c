use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

/// Connects to a list of addresses, here of one.
const CONNECTX: i32 = 110;

pub(crate) const ATTACK: Attack = Attack {
    name: "net-sctp-option",
    group: Group::Network,
    tries: "Connect over SCTP by an option of the socket",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks do not see SCTP"),
    recorded: Recorded::As(&["connect", "socket"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp);
    net::set(&fd, libc::IPPROTO_SCTP, CONNECTX, &to.as_inet())?;
    net::greets(fd)
}
