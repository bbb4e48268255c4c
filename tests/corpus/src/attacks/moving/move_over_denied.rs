use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-over-denied",
    group: Group::Moving,
    tries: "Replace a file that a deny rule names by renaming an own one",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::write(&mine, "mine").step("writing")?;
    fs::rename(mine, &scene.denied).step("renaming")?;
    sys::files::has_len(&scene.denied, 4)
}
