use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-list-outside",
    group: Group::Files,
    tries: "List a directory that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut entries = fs::read_dir(&scene.outside).step("opening")?.flatten();
    verify(entries.any(|entry| entry.file_name() == "secret"), "listing")
}
