use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-directory-to-gain-link",
    group: Group::Moving,
    tries: "Move an own directory to where hard links may be made, and link what is in it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (mine, there) = (scene.own("mine"), scene.own("tmp/mine"));
    fs::create_dir(&mine).step("mkdir")?;
    fs::write(mine.join("file"), "mine").step("writing")?;
    fs::rename(mine, &there).step("renaming")?;
    fs::hard_link(there.join("file"), scene.own("tmp/link")).step("linking")?;
    verify(there.join("file").metadata()?.nlink() == 2, "linking")
}
