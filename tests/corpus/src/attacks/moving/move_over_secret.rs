use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-over-secret",
    group: Group::Moving,
    tries: "Replace a file that no rule allows by renaming an own one",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::write(&mine, "mine").step("writing")?;
    fs::rename(mine, &scene.secret).step("renaming")?;
    sys::files::has_len(&scene.secret, 4)
}
