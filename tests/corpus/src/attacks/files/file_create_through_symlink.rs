use std::fs;
use std::os::unix::fs::symlink;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-create-through-symlink",
    group: Group::Files,
    tries: "Make a file through a symbolic link to a name that does not exist",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (link, new) = (scene.own("link"), scene.outside.join("new"));
    symlink(&new, &link).step("linking")?;
    fs::write(link, "mine").step("making")?;
    sys::files::exists(new)
}
