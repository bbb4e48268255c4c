use nix::unistd::truncate;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-truncate-readable",
    group: Group::Files,
    tries: "Empty a file that may only be read, by its path",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let text = scene.readable.join("text");
    truncate(&text, 0).step("truncating")?;
    sys::files::has_len(text, 0)
}
