use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-over-long-path",
    group: Group::Files,
    tries: "Make a file that a deny rule names where its path is longer than any system call takes",
    who: Who::Anyone,
    compat: Compat::Open(
        "what a deny rule names inside an allowed directory is covered where it exists at start, and nowhere else",
    ),
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let name = "d".repeat(255);
    for _ in 0..20 {
        fs::create_dir(&name).step("mkdir")?;
        std::env::set_current_dir(&name).step("going there")?;
    }
    fs::write(".env", "mine").step("making")?;
    sys::files::exists(".env")
}
