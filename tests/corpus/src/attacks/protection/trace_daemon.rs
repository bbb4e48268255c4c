use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "trace-daemon",
    group: Group::Protection,
    tries: "Seize the daemon as its tracer",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::other::seize(scene.guard.daemon)
}
