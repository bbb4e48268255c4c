use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-create-denied-name",
    group: Group::Files,
    tries: "Make a file that a deny rule names in a new directory in the workspace",
    who: Who::Anyone,
    compat: Compat::Open(
        "what a deny rule names inside an allowed directory is covered where it exists at start, and nowhere else",
    ),
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fresh = scene.own("fresh");
    fs::create_dir(&fresh).step("mkdir")?;
    fs::write(fresh.join(".env"), "mine").step("making")?;
    sys::files::exists(fresh.join(".env"))
}
