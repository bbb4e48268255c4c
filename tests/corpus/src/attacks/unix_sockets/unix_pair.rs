use nix::sys::socket::MsgFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-pair",
    group: Group::UnixSockets,
    tries: "Send to a Unix socket from one end of a pair",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (fd, _peer) = socketpair(AddressFamily::Unix, SockType::Datagram, None, flags).step("socketpair")?;
    net::bind(&fd, &Address::path(&scene.own("me"))?)?;
    let to = Address::path(&scene.victim.datagram)?;
    net::send(&fd, &to, MsgFlags::empty())?;
    net::connect(&fd, &to)?; // a connected socket hears its peer only
    net::asks_peer(fd)
}
