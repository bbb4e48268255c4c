use std::path::Path;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-by-root",
    group: Group::UnixSockets,
    tries: "Connect to a Unix socket by the root directory in /proc",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let relative = scene.victim.stream.strip_prefix("/").expect("an absolute path");
    net::connects(
        net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?,
        &Address::path(&Path::new("/proc/self/root").join(relative))?,
    )
}
