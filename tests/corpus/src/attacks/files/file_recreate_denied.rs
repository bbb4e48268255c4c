use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-recreate-denied",
    group: Group::Files,
    tries: "Delete a file that a deny rule names and make it anew",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    fs::remove_file(&scene.denied).step("deleting")?;
    fs::write(&scene.denied, "mine").step("making")?;
    sys::files::has_len(&scene.denied, 4)
}
