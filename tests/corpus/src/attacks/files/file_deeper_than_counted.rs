use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-deeper-than-counted",
    group: Group::Files,
    tries: "Make a file that a deny rule names deeper than any check may want to count",
    who: Who::Anyone,
    compat: Compat::Open(
        "what a deny rule names inside an allowed directory is covered where it exists at start, and nowhere else",
    ),
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    for _ in 0..1200 {
        fs::create_dir("d").step("mkdir")?;
        std::env::set_current_dir("d").step("going there")?;
    }
    fs::write(".env", "mine").step("making")?;
    sys::files::exists(".env")
}
