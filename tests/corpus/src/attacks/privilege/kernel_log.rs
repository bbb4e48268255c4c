use std::fs::File;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "kernel-log",
    group: Group::Privilege,
    tries: "Write to the log of the kernel",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    // Opened only: what is written there stays.
    File::options().write(true).open("/dev/kmsg").step("opening")?;
    Ok(())
}
