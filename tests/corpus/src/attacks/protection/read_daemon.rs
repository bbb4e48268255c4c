use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "read-daemon",
    group: Group::Protection,
    tries: "Read memory of the daemon",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let start = sys::other::memory_of(scene.guard.daemon, scene.guard.image, 4)?;
    verify(start == b"\x7fELF", "reading")
}
