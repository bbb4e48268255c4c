use std::fs::File;

use crate::{
    Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who,
    sys::attributes::{self, NODUMP},
    verify,
};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-flags",
    group: Group::Files,
    tries: "Set a flag of a file that may only be read, by a descriptor",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = File::open(scene.readable.join("text")).step("opening")?;
    let flags = attributes::flags(&file).step("asking for flags")?;
    attributes::set_flags(&file, flags | NODUMP).step("setting a flag")?;
    verify(attributes::flags(&file)? & NODUMP != 0, "setting it")
}
