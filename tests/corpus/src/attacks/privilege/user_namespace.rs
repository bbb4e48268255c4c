use nix::sched::{CloneFlags, unshare};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "user-namespace",
    group: Group::Privilege,
    tries: "Make a user namespace",
    who: Who::Anyone,
    compat: Compat::Open("unprivileged users may make user namespaces, and no hook of this level sees it"),
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    sys::in_child(|| unshare(CloneFlags::CLONE_NEWUSER).step("unshare"))
}
