use std::fs::File;
use std::io::Read as _;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "device-node",
    group: Group::Privilege,
    tries: "Make a device node in the workspace and use it",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let node = scene.own("zero");
    mknod(&node, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5)).step("mknod")?;
    let mut byte = [1];
    File::open(node).step("opening")?.read_exact(&mut byte).step("reading")?;
    verify(byte == [0], "reading")
}
