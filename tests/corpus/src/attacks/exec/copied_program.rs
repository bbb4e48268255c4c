use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "copied-program",
    group: Group::Exec,
    tries: "Execute a copy of an allowed program in the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let copy = sys::program::copy_of_id(scene, "copy")?;
    sys::program::prints_identity(&mut Command::new(copy))
}
