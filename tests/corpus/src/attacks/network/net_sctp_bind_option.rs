use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

/// Binds to a list of addresses, here of one.
const BINDX_ADD: i32 = 100;

pub(crate) const ATTACK: Attack = Attack {
    name: "net-sctp-bind-option",
    group: Group::Network,
    tries: "Offer a service over SCTP, bound by an option of the socket",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks do not see SCTP"),
    recorded: Recorded::As(&["bind", "socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?;
    let at = Address::inet(Ipv4Addr::LOCALHOST, 0);
    net::set(&fd, libc::IPPROTO_SCTP, BINDX_ADD, &at.as_inet())?;
    net::listens(fd)
}
