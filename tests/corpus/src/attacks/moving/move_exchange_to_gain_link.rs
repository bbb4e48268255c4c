use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-exchange-to-gain-link",
    group: Group::Moving,
    tries: "Exchange an own file and one where hard links may be made, and link it there",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (mine, there) = (scene.own("mine"), scene.own("tmp/mine"));
    fs::write(&mine, "mine").step("writing")?;
    fs::write(&there, "there").step("writing")?;
    sys::files::exchange(&there, &mine)?;
    fs::hard_link(&there, scene.own("tmp/link")).step("linking")?;
    verify(there.metadata()?.nlink() == 2, "linking")
}
