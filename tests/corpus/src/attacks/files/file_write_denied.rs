use std::io::Write as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-write-denied",
    group: Group::Files,
    tries: "Overwrite a file in the workspace that a deny rule names",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut file = sys::files::writable(&scene.denied)?;
    file.write_all(b"mine").step("writing")
}
