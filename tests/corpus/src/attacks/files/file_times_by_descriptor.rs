use std::fs::File;
use std::time::SystemTime;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-times-by-descriptor",
    group: Group::Files,
    tries: "Set the times of a file that may only be read, by a descriptor",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = File::open(scene.readable.join("text")).step("opening")?;
    file.set_modified(SystemTime::UNIX_EPOCH).step("futimens")?;
    verify(file.metadata()?.modified()? == SystemTime::UNIX_EPOCH, "setting the times")
}
