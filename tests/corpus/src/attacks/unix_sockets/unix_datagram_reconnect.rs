use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-datagram-reconnect",
    group: Group::UnixSockets,
    tries: "Connect a datagram socket to an own Unix socket, then to another",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::unix(scene, libc::SOCK_DGRAM, "me")?;
    let _other = net::unix(scene, libc::SOCK_DGRAM, "other")?;
    net::connect(&fd, &Address::path(&scene.own("other"))?)?;
    net::connect(&fd, &Address::path(&scene.victim.datagram)?)?;
    net::asks_peer(fd)
}
