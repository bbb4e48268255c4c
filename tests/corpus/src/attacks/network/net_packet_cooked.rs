use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-packet-cooked",
    group: Group::Network,
    tries: "Read what others send, from a packet socket without headers",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let all = i32::from((libc::ETH_P_ALL as u16).to_be());
    net::overhears(net::socket(libc::AF_PACKET, libc::SOCK_DGRAM, all)?, scene)
}
