use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "proc-environment",
    group: Group::Processes,
    tries: "Read the environment of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let environment = std::fs::read(format!("/proc/{}/environ", scene.victim.pid)).step("reading")?;
    verify(environment.contains(&b'='), "reading")
}
