use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "schedule-daemon",
    group: Group::Protection,
    tries: "Set the scheduler of the daemon",
    who: Who::Root,
    compat: Compat::Open(
        "Landlock scopes signals and tracing, not what else users may do to their own processes",
    ),
    recorded: Recorded::As(&["signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::other::set_scheduler(scene.guard.daemon)
}
