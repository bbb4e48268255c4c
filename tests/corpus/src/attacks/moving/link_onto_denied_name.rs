use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-onto-denied-name",
    group: Group::Moving,
    tries: "Make a hard link of an own file under a name that a deny rule names",
    who: Who::Anyone,
    compat: Compat::Open(
        "what a deny rule names inside an allowed directory is covered where it exists at start, and nowhere else",
    ),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (mine, new) = (scene.own("tmp/mine"), scene.own("tmp/.env"));
    fs::write(&mine, "mine").step("writing")?;
    fs::hard_link(mine, &new).step("linking")?;
    sys::files::exists(new)
}
