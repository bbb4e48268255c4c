use std::path::Path;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

/// Without a null byte at the end.
const LONGEST: usize = 108;

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-long-path",
    group: Group::UnixSockets,
    tries: "Connect to a Unix socket by a path that fills the whole address",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let path = scene.victim.stream.to_str().expect("UTF-8");
    let path = format!("{}{path}", "/".repeat(LONGEST - path.len()));
    net::connects(net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?, &Address::path(Path::new(&path))?)
}
