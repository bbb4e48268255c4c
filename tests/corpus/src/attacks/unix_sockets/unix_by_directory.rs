use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-by-directory",
    group: Group::UnixSockets,
    tries: "Connect to a Unix socket by a descriptor of its directory",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let directory = open(&scene.outside, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).step("opening")?;
    let path = format!("/proc/self/fd/{}/stream", directory.as_raw_fd());
    net::connects(net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?, &Address::path(Path::new(&path))?)
}
