use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "proc-root",
    group: Group::Processes,
    tries: "Read a secret through the root directory of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let secret = scene.secret.strip_prefix("/").expect("absolute");
    scene.reads_secret(format!("/proc/{}/root/{}", scene.victim.pid, secret.display()))
}
