use std::fs;
use std::io::Write as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

const PARAMETER: &str = "/sys/module/kernel/parameters/panic";

pub(crate) const ATTACK: Attack = Attack {
    name: "file-kernel-object",
    group: Group::Files,
    tries: "Write a parameter of the kernel in /sys",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let value = fs::read(PARAMETER).step("reading")?;
    sys::files::writable(PARAMETER)?.write_all(&value).step("writing")
}
