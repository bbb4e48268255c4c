use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "identity-in-daemon",
    group: Group::Processes,
    tries: "Read a secret from a daemon that has left its session and its parent",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::lineage::in_daemon(|| scene.reads_secret(&scene.secret))
}
