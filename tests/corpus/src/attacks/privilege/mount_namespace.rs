use nix::sched::{CloneFlags, unshare};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "mount-namespace",
    group: Group::Privilege,
    tries: "Make a mount namespace",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    sys::in_child(|| unshare(CloneFlags::CLONE_NEWNS).step("unshare"))
}
