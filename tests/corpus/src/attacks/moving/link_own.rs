use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-own",
    group: Group::Moving,
    tries: "Make a hard link of an own file where no rule allows links",
    who: Who::Anyone,
    compat: Compat::Open("Landlock asks no leave for links within one directory"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::write(&mine, "mine").step("writing")?;
    fs::hard_link(&mine, scene.own("link")).step("linking")?;
    verify(mine.metadata()?.nlink() == 2, "linking")
}
