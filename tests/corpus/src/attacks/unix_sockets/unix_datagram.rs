use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-datagram",
    group: Group::UnixSockets,
    tries: "Send to a Unix socket",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::unix(scene, libc::SOCK_DGRAM, "me")?;
    net::asks(fd, &Address::path(&scene.victim.datagram)?)
}
