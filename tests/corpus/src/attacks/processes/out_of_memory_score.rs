use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "out-of-memory-score",
    group: Group::Processes,
    tries: "Choose which process the kernel kills for memory",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::other::set_oom_score(scene.victim.pid)
}
