use std::fs;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-exchange-other-way",
    group: Group::Moving,
    tries: "Exchange a directory that may only be read and an own one, and write to the former",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::create_dir(&mine).step("mkdir")?;
    sys::files::exchange(&scene.readable, &mine)?;
    fs::write(mine.join("text"), "mine").step("writing")
}
