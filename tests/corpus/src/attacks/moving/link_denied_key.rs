use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-denied-key",
    group: Group::Moving,
    tries: "Read a file in a directory that a deny rule names through a hard link elsewhere",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("tmp/mine");
    fs::hard_link(scene.kept.join("inside/key"), &mine).step("linking")?;
    scene.reads_secret(mine)
}
