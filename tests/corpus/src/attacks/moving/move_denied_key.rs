use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-denied-key",
    group: Group::Moving,
    tries: "Move a file out of a directory that a deny rule names, and read it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::rename(scene.kept.join("inside/key"), &mine).step("renaming")?;
    scene.reads_secret(mine)
}
