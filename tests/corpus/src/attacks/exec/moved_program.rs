use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "moved-program",
    group: Group::Exec,
    tries: "Move a program into the workspace and execute it there",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let here = scene.own("moved");
    std::fs::rename(&scene.program, &here).step("renaming")?;
    sys::program::prints_identity(&mut Command::new(here))
}
