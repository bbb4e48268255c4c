use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-abstract",
    group: Group::UnixSockets,
    tries: "Connect to a Unix socket without a path",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    net::connects(
        net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?,
        &Address::named(&scene.victim.abstract_stream)?,
    )
}
