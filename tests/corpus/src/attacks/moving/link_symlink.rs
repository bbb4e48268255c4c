use std::os::unix::fs::symlink;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-symlink",
    group: Group::Moving,
    tries: "Read a file through a hard link of what a symbolic link in the workspace leads to",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (link, mine) = (scene.own("tmp/link"), scene.own("tmp/mine"));
    symlink(&scene.secret, &link).step("linking")?;
    linkat(AT_FDCWD, &link, AT_FDCWD, &mine, AtFlags::AT_SYMLINK_FOLLOW).step("linking")?;
    scene.reads_secret(mine)
}
