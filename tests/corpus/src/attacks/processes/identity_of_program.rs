use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "identity-of-program",
    group: Group::Processes,
    tries: "Have an allowed program read a secret",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let text = sys::program::output(Command::new("/usr/bin/cat").arg(&scene.secret))?;
    scene.is_secret(text)
}
