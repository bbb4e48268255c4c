use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "hard-linked-program",
    group: Group::Exec,
    tries: "Execute a program through a hard link in the workspace",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let here = scene.own("linked");
    std::fs::hard_link(&scene.program, &here).step("linking")?;
    sys::program::prints_identity(&mut Command::new(here))
}
