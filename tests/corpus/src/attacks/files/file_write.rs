use std::io::Write as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-write",
    group: Group::Files,
    tries: "Overwrite a file that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut file = sys::files::writable(&scene.secret)?;
    file.write_all(b"mine").step("writing")
}
