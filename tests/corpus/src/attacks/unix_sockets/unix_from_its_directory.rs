use std::path::Path;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-from-its-directory",
    group: Group::UnixSockets,
    tries: "Connect to a Unix socket from its own directory",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    std::env::set_current_dir(&scene.outside).step("chdir")?;
    net::connects(net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?, &Address::path(Path::new("stream"))?)
}
