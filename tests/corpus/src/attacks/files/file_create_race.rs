use std::fs;
use std::os::unix::fs::symlink;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-create-race",
    group: Group::Files,
    tries: "Make a file through a symbolic link that leads elsewhere from one moment to the next",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (link, other) = (scene.own("link"), scene.own("other"));
    fs::create_dir(scene.own("mine")).step("mkdir")?;
    symlink("mine", &link).step("linking")?;
    symlink(&scene.outside, &other).step("linking")?;
    sys::files::race(&link, &other, || {
        fs::write(link.join("new"), "").step("making")?;
        sys::files::exists(scene.outside.join("new"))
    })
}
