use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-to-gain-writing",
    group: Group::Moving,
    tries: "Link a file that may be read and linked, but not written, into the workspace and write to it there",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::hard_link(scene.readable.join("library/text"), &mine).step("linking")?;
    fs::write(mine, "mine").step("writing")
}
