use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "copy-daemon-descriptor",
    group: Group::Protection,
    tries: "Copy a descriptor of the daemon",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::other::descriptor_of(scene.guard.daemon, 1).map(drop)
}
