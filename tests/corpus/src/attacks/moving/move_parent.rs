use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-parent",
    group: Group::Moving,
    tries: "Rename a directory, so that a deny rule does not name what is below any more, and read that",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::rename(&scene.kept, &mine).step("renaming")?;
    scene.reads_secret(mine.join("inside/key"))
}
