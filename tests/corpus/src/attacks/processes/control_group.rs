use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "control-group",
    group: Group::Processes,
    tries: "Move another process to a control group",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::other::move_to_cgroup(scene.victim.pid)
}
