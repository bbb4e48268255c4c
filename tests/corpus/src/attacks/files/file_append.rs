use std::fs::File;
use std::io::Write as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-append",
    group: Group::Files,
    tries: "Append to a file that may only be read",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut file = File::options().append(true).open(scene.readable.join("text")).step("opening")?;
    file.write_all(b"mine").step("appending")
}
