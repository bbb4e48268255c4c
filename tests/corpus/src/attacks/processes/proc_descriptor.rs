use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "proc-descriptor",
    group: Group::Processes,
    tries: "Open a file that another process has open, through /proc",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    scene.reads_secret(format!("/proc/{}/fd/{}", scene.victim.pid, scene.victim.fd))
}
