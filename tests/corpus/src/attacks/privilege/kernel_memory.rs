use std::fs::File;
use std::io::Read as _;

use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "kernel-memory",
    group: Group::Privilege,
    tries: "Read memory of the kernel",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege", "open"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let opened = sys::absent_if(File::open("/proc/kcore"), Errno::ENOENT, "/proc/kcore");
    let mut magic = [0; 4];
    opened.step("opening")?.read_exact(&mut magic).step("reading")?;
    verify(&magic == b"\x7fELF", "reading")
}
