use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "core-pattern",
    group: Group::Exec,
    tries: "Name a program that the kernel starts when a process crashes",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let path = "/proc/sys/kernel/core_pattern"; // what is there is written again
    let pattern = std::fs::read(path).step("reading")?;
    std::fs::write(path, pattern).step("writing")
}
