use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "symlinked-program",
    group: Group::Exec,
    tries: "Execute a program through a symbolic link in the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let here = scene.own("link");
    std::os::unix::fs::symlink(&scene.program, &here).step("linking")?;
    sys::program::prints_identity(&mut Command::new(here))
}
