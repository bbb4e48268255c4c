use nix::sys::socket::MsgFlags;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-datagram-connected",
    group: Group::UnixSockets,
    tries: "Send elsewhere from a datagram socket that is connected to an own one",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::unix(scene, libc::SOCK_DGRAM, "me")?;
    let _other = net::unix(scene, libc::SOCK_DGRAM, "other")?;
    net::connect(&fd, &Address::path(&scene.own("other"))?)?;
    let to = Address::path(&scene.victim.datagram)?;
    net::send(&fd, &to, MsgFlags::empty())?;
    net::connect(&fd, &to)?; // a connected socket hears its peer only
    net::asks_peer(fd)
}
