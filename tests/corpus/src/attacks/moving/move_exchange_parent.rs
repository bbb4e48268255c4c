use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-exchange-parent",
    group: Group::Moving,
    tries: "Exchange an own directory and one that a deny rule names the inside of, and read that",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::create_dir(&mine).step("mkdir")?;
    sys::files::exchange(&mine, &scene.kept)?;
    scene.reads_secret(mine.join("inside/key"))
}
