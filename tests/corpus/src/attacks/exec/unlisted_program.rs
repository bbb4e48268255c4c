use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "unlisted-program",
    group: Group::Exec,
    tries: "Execute a program that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::program::prints_identity(&mut Command::new(&scene.program))
}
