use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-bind-outside",
    group: Group::UnixSockets,
    tries: "Offer a Unix socket outside the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    net::bind(&fd, &Address::path(&scene.outside.join("service"))?)?;
    net::listens(fd)
}
