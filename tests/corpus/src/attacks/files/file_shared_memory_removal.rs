use std::path::Path;

use nix::sys::mman::shm_unlink;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-shared-memory-removal",
    group: Group::Files,
    tries: "Remove a POSIX shared memory object of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let name = Path::new("/").join(scene.victim.shared.file_name().expect("a name"));
    shm_unlink(&name).step("shm_unlink")?;
    sys::files::is_gone(&scene.victim.shared)
}
