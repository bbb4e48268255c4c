use std::net::Ipv4Addr;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-route",
    group: Group::Network,
    tries: "Change the routes",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    const TABLE: u8 = 200; // that nothing looks into
    // Family, length of the destination, length of the source, service, table, origin, scope, type, flags.
    let mut route =
        vec![libc::AF_INET as u8, 32, 0, 0, TABLE, libc::RTPROT_STATIC, 0, libc::RTN_BLACKHOLE, 0, 0, 0, 0];
    route.extend([8_u16, libc::RTA_DST].map(u16::to_ne_bytes).concat());
    route.extend(Ipv4Addr::new(192, 0, 2, 1).octets()); // for documentation
    let change =
        |kind, flags| sys::netlink::request(libc::NETLINK_ROUTE, kind, libc::NLM_F_ACK | flags, &route);
    change(libc::RTM_NEWROUTE, libc::NLM_F_CREATE)?;
    change(libc::RTM_DELROUTE, 0).map(drop)
}
