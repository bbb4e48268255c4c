use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-out",
    group: Group::Moving,
    tries: "Make a hard link of an own file where no rule allows files",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (mine, new) = (scene.own("tmp/mine"), scene.outside.join("new"));
    fs::write(&mine, "mine").step("writing")?;
    fs::hard_link(mine, &new).step("linking")?;
    sys::files::exists(new)
}
