use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "loader",
    group: Group::Exec,
    tries: "Let the dynamic loader run a program in the workspace",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict mapping a readable file executable"),
    recorded: Recorded::As(&["map-exec", "exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let copy = sys::program::copy_of_id(scene, "copy")?;
    sys::program::prints_identity(Command::new("/usr/lib64/ld-linux-x86-64.so.2").arg(copy))
}
