use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-datagram-messages",
    group: Group::UnixSockets,
    tries: "Send to several Unix sockets at once, the first of them an own one",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::unix(scene, libc::SOCK_DGRAM, "me")?;
    let _other = net::unix(scene, libc::SOCK_DGRAM, "other")?;
    net::send_many(&fd, &[Address::path(&scene.own("other"))?, Address::path(&scene.victim.datagram)?])?;
    net::greets(fd)
}
