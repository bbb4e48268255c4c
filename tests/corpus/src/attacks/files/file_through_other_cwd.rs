use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-through-other-cwd",
    group: Group::Files,
    tries: "Read a file by a path that starts at the current directory of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let secret = scene.secret.strip_prefix("/").expect("absolute");
    scene.reads_secret(format!("/proc/{}/cwd/{}{}", scene.victim.pid, "../".repeat(64), secret.display()))
}
