use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-by-hard-link",
    group: Group::UnixSockets,
    tries: "Connect to a Unix socket by a hard link in the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let link = scene.own("link");
    std::fs::hard_link(&scene.victim.stream, &link).step("link")?;
    net::connects(net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?, &Address::path(&link)?)
}
