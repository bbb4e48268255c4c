use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-to-gain-writing",
    group: Group::Moving,
    tries: "Move a file that may be read and deleted, but not written, into the workspace and write to it there",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::rename(scene.readable.join("library/text"), &mine).step("renaming")?;
    fs::write(mine, "mine").step("writing")
}
