use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "identity-in-thread",
    group: Group::Processes,
    tries: "Read a secret from another thread",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    std::thread::scope(|s| s.spawn(|| scene.reads_secret(&scene.secret)).join().expect("no panic"))
}
