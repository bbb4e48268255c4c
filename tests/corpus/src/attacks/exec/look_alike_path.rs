use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "look-alike-path",
    group: Group::Exec,
    tries: "Execute a program in the workspace whose path ends like that of an allowed one",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    std::fs::create_dir_all(scene.own("usr/bin")).step("making directories")?;
    let copy = sys::program::copy_of_id(scene, "usr/bin/id")?;
    sys::program::prints_identity(&mut Command::new(copy))
}
