use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-any",
    group: Group::Network,
    tries: "Connect to 0.0.0.0, which is this machine",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let to = Address::inet(Ipv4Addr::UNSPECIFIED, scene.victim.tcp);
    net::connects(net::tcp()?, &to)
}
