use nix::fcntl::renameat;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys::files::path_descriptor};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-by-descriptors",
    group: Group::Moving,
    tries: "Move a file into the workspace by descriptors of both directories",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (from, to) = (path_descriptor(&scene.outside)?, path_descriptor(&scene.workspace)?);
    renameat(from, "secret", to, "mine").step("renaming")?;
    scene.reads_secret(scene.own("mine"))
}
