use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-denied",
    group: Group::Moving,
    tries: "Read a file that a deny rule names through a hard link beside it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.denied.with_file_name("mine");
    fs::hard_link(&scene.denied, &mine).step("linking")?;
    scene.reads_secret(mine)
}
