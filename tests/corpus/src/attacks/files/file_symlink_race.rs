use std::fs;
use std::os::unix::fs::symlink;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-symlink-race",
    group: Group::Files,
    tries: "Read a file through a symbolic link that leads elsewhere from one moment to the next",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (link, other) = (scene.own("link"), scene.own("other"));
    fs::write(scene.own("mine"), "mine").step("writing")?;
    symlink("mine", &link).step("linking")?;
    symlink(&scene.secret, &other).step("linking")?;
    sys::files::race(&link, &other, || scene.reads_secret(&link))
}
