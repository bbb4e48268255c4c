use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-secret",
    group: Group::Moving,
    tries: "Move a file into the workspace and read it there",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::rename(&scene.secret, &mine).step("renaming")?;
    scene.reads_secret(mine)
}
