use std::fs::File;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "workspace-descriptor",
    group: Group::Exec,
    tries: "Execute a program in the workspace by a descriptor",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = File::open(sys::program::copy_of_id(scene, "copy")?).step("opening")?;
    sys::program::descriptor_runs(file)
}
