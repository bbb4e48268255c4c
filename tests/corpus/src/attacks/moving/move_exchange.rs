use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-exchange",
    group: Group::Moving,
    tries: "Exchange an own file and one that no rule allows, and read that",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::write(&mine, "mine").step("writing")?;
    sys::files::exchange(&mine, &scene.secret)?;
    scene.reads_secret(mine)
}
