use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-abstract-datagram",
    group: Group::UnixSockets,
    tries: "Send to a Unix socket without a path",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::unix(scene, libc::SOCK_DGRAM, "me")?;
    net::asks(fd, &Address::named(&scene.victim.abstract_datagram)?)
}
