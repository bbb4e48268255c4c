use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-through-root",
    group: Group::Files,
    tries: "Read a file through the link to the own root directory in /proc",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let secret = scene.secret.strip_prefix("/").expect("absolute");
    scene.reads_secret(format!("/proc/self/root/{}", secret.display()))
}
