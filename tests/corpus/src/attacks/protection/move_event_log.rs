use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-event-log",
    group: Group::Protection,
    tries: "Move the event log away",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (here, away) = (&scene.guard.event_log, scene.guard.event_log.with_extension("away"));
    std::fs::rename(here, &away).step("renaming")?;
    std::fs::rename(away, here).step("renaming back")
}
