use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "sacrifice-daemon",
    group: Group::Protection,
    tries: "Have the kernel kill the daemon first for memory",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::other::set_oom_score(scene.guard.daemon)
}
