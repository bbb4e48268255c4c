use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "proc-maps",
    group: Group::Processes,
    tries: "Read what another process has mapped",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", scene.victim.pid)).step("reading")?;
    verify(maps.contains("r-xp"), "reading")
}
