use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "limits",
    group: Group::Processes,
    tries: "Set a limit of another process",
    who: Who::Anyone,
    compat: Compat::Open(
        "Landlock scopes signals and tracing, not what else users may do to their own processes",
    ),
    recorded: Recorded::As(&["signal", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::other::set_limits(scene.victim.pid)
}
