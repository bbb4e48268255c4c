use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-create",
    group: Group::Files,
    tries: "Make a file in a directory that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let new = scene.outside.join("new");
    fs::write(&new, "mine").step("making")?;
    sys::files::exists(new)
}
