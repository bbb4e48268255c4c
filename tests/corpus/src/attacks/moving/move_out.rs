use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-out",
    group: Group::Moving,
    tries: "Move a file out of the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (mine, new) = (scene.own("mine"), scene.outside.join("new"));
    fs::write(&mine, "mine").step("writing")?;
    fs::rename(mine, &new).step("renaming")?;
    sys::files::exists(new)
}
