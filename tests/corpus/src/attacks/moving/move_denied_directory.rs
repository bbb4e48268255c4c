use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-denied-directory",
    group: Group::Moving,
    tries: "Rename a directory that a deny rule names, and read what is in it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::rename(scene.kept.join("inside"), &mine).step("renaming")?;
    scene.reads_secret(mine.join("key"))
}
