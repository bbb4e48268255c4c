use nix::sched::CloneFlags;

use crate::sys::lineage::in_clone;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "identity-in-sibling",
    group: Group::Processes,
    tries: "Read a secret from a process that is no child of its maker",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::in_child(|| in_clone(CloneFlags::CLONE_PARENT, || scene.reads_secret(&scene.secret)))
}
