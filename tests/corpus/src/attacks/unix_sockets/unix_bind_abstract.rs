use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-bind-abstract",
    group: Group::UnixSockets,
    tries: "Offer a Unix socket under a name that others look for",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict the names of Unix sockets"),
    recorded: Recorded::As(&["unix", "bind"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let at = Address::named(&format!("{}-other", scene.victim.abstract_stream))?;
    net::bind(&fd, &at)?;
    net::listens(&fd)?;
    net::connect(net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?, &at)
}
