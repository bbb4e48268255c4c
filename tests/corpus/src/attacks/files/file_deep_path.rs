use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-deep-path",
    group: Group::Files,
    tries: "Make a file that a deny rule names 60 directories deep",
    who: Who::Anyone,
    compat: Compat::Open(
        "what a deny rule names inside an allowed directory is covered where it exists at start, and nowhere else",
    ),
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let deep = scene.own(&"d/".repeat(60));
    fs::create_dir_all(&deep).step("mkdir")?;
    fs::write(deep.join(".env"), "mine").step("making")?;
    sys::files::exists(deep.join(".env"))
}
