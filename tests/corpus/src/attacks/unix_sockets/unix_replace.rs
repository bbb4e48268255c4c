use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-replace",
    group: Group::UnixSockets,
    tries: "Put an own Unix socket in the place of another",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    std::fs::remove_file(&scene.victim.stream).step("removing")?;
    let fd = net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    net::bind(&fd, &Address::path(&scene.victim.stream)?)?;
    net::listens(fd)
}
