use std::fs::File;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "write-event-log",
    group: Group::Protection,
    tries: "Open the event log for writing",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    File::options().write(true).open(&scene.guard.event_log).step("opening")?;
    Ok(())
}
