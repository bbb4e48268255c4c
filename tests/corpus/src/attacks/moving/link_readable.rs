use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-readable",
    group: Group::Moving,
    tries: "Write to a file that may only be read through a hard link in the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::hard_link(scene.readable.join("text"), &mine).step("linking")?;
    fs::write(mine, "mine").step("writing")
}
