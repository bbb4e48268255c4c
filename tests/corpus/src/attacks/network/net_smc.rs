use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

const AF_SMC: i32 = 43;

pub(crate) const ATTACK: Attack = Attack {
    name: "net-smc",
    group: Group::Network,
    tries: "Connect over shared memory communications",
    who: Who::Anyone,
    compat: Compat::Depends("the connection that the kernel makes for it is refused, where it makes one"),
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(AF_SMC, libc::SOCK_STREAM, 0)?;
    net::connects(fd, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp))
}
