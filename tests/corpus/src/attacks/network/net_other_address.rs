use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-other-address",
    group: Group::Network,
    tries: "Connect to an allowed port, of another address",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let to = Address::inet(Ipv4Addr::new(127, 0, 0, 2), scene.victim.tcp_allowed);
    net::connects(net::tcp()?, &to)
}
