use std::os::unix::fs::symlink;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-through-symlink",
    group: Group::Files,
    tries: "Read a file through a symbolic link planted in the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let link = scene.own("link");
    symlink(&scene.secret, &link).step("linking")?;
    scene.reads_secret(link)
}
