use nix::unistd::truncate;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-truncate",
    group: Group::Files,
    tries: "Empty a file by its path",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    truncate(&scene.secret, 0).step("truncating")?;
    sys::files::has_len(&scene.secret, 0)
}
