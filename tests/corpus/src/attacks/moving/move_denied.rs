use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-denied",
    group: Group::Moving,
    tries: "Rename a file that a deny rule names, and read it under its new name",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::rename(&scene.denied, &mine).step("renaming")?;
    scene.reads_secret(mine)
}
