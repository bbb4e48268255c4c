use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-readable-directory",
    group: Group::Moving,
    tries: "Move a directory that may only be read into the workspace and write to it there",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::rename(&scene.readable, &mine).step("renaming")?;
    fs::write(mine.join("text"), "mine").step("writing")
}
