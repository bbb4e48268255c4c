use std::fs::File;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "deleted-program",
    group: Group::Exec,
    tries: "Execute a program in the workspace that was deleted",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let copy = sys::program::copy_of_id(scene, "copy")?;
    let file = File::open(&copy).step("opening")?;
    std::fs::remove_file(copy).step("deleting")?;
    sys::program::descriptor_runs(file)
}
