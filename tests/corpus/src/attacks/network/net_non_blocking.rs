use std::net::Ipv4Addr;

use nix::poll::PollFlags;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-non-blocking",
    group: Group::Network,
    tries: "Connect without waiting",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp);
    match net::connect(&fd, &to) {
        Err(Stop::Refused { errno: libc::EINPROGRESS, .. }) => net::await_event(&fd, PollFlags::POLLOUT)?,
        other => other?,
    }
    net::greets(fd)
}
