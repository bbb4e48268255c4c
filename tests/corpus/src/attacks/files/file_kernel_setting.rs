use std::fs;
use std::io::Write as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

const SETTING: &str = "/proc/sys/kernel/pid_max";

pub(crate) const ATTACK: Attack = Attack {
    name: "file-kernel-setting",
    group: Group::Files,
    tries: "Write a setting of the kernel in /proc/sys",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let value = fs::read(SETTING).step("reading")?;
    sys::files::writable(SETTING)?.write_all(&value).step("writing")
}
