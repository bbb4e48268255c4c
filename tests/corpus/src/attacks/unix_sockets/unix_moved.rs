use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-moved",
    group: Group::UnixSockets,
    tries: "Connect to a Unix socket that was moved to the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let moved = scene.own("moved");
    std::fs::rename(&scene.victim.stream, &moved).step("rename")?;
    net::connects(net::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?, &Address::path(&moved)?)
}
