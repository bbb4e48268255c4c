use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-control-socket",
    group: Group::Protection,
    tries: "Move the control socket away",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (here, away) = (&scene.guard.control, scene.guard.control.with_extension("away"));
    std::fs::rename(here, &away).step("renaming")?;
    std::fs::rename(away, here).step("renaming back")
}
