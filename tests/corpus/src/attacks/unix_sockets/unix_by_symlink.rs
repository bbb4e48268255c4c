use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-by-symlink",
    group: Group::UnixSockets,
    tries: "Connect to a Unix socket by a symbolic link in the workspace",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let link = scene.own("link");
    std::os::unix::fs::symlink(&scene.victim.stream, &link).step("symlink")?;
    net::connects(net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?, &Address::path(&link)?)
}
