use nix::sys::stat::{Mode, SFlag, mknod};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-make-node",
    group: Group::Files,
    tries: "Make a file with mknod where no rule allows it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let new = scene.outside.join("new");
    mknod(&new, SFlag::S_IFREG, Mode::S_IRWXU, 0).step("mknod")?;
    sys::files::exists(new)
}
