use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-bind-automatic",
    group: Group::UnixSockets,
    tries: "Offer a Unix socket under a name that the kernel chooses",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict the names of Unix sockets"),
    recorded: Recorded::As(&["unix", "bind"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    const FAMILY_ONLY: u32 = 2;
    let fd = net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    net::bind(&fd, &Address::named("")?.cut(FAMILY_ONLY))?;
    net::listens(fd)
}
