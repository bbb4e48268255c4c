use std::os::fd::AsRawFd as _;
use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "memory-program-by-path",
    group: Group::Exec,
    tries: "Execute a program in a memory file through /proc/self/fd",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict executing what has no path"),
    recorded: Recorded::As(&["exec", "privilege", "open"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let file = sys::program::memory_file()?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    sys::program::prints_identity(&mut Command::new(path))
}
