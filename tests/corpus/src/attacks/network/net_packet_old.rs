use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

const SOCK_PACKET: i32 = 10;

pub(crate) const ATTACK: Attack = Attack {
    name: "net-packet-old",
    group: Group::Network,
    tries: "Read what others send, from a socket of the type before packet sockets",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let all = i32::from((libc::ETH_P_ALL as u16).to_be());
    net::overhears(net::socket(libc::AF_INET, SOCK_PACKET, all)?, scene)
}
