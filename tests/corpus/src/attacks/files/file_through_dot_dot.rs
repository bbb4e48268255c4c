use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-through-dot-dot",
    group: Group::Files,
    tries: "Read a file by a path with .. that leads out of the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    scene.reads_secret(scene.own("../outside/secret"))
}
