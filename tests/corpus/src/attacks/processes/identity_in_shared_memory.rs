use nix::sched::CloneFlags;

use crate::sys::lineage::in_clone;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "identity-in-shared-memory",
    group: Group::Processes,
    tries: "Read a secret from a process that shares the memory of its maker",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    in_clone(CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK, || scene.reads_secret(&scene.secret))
}
