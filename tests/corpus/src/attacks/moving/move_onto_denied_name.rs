use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-onto-denied-name",
    group: Group::Moving,
    tries: "Rename an own file to a name that a deny rule names",
    who: Who::Anyone,
    compat: Compat::Open(
        "what a deny rule names inside an allowed directory is covered where it exists at start, and nowhere else",
    ),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (mine, new) = (scene.own("mine"), scene.own(".env"));
    fs::write(&mine, "mine").step("writing")?;
    fs::rename(mine, &new).step("renaming")?;
    sys::files::exists(new)
}
