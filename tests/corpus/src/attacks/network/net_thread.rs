use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-thread",
    group: Group::Network,
    tries: "Connect from a thread",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp);
    let connect = || net::connects(net::tcp()?, &to);
    std::thread::scope(|s| s.spawn(connect).join().expect("no panic"))
}
