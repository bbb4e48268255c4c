use std::fs::File;
use std::io::Write as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-reopened-for-writing",
    group: Group::Files,
    tries: "Open a file that may only be read, and then its descriptor in /proc for writing",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = File::open(scene.readable.join("text")).step("opening")?;
    let mut again = sys::files::writable(sys::files::proc_path(&file))?;
    again.write_all(b"mine").step("writing")
}
