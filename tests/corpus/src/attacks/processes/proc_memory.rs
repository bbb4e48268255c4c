use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::scene::SECRET;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "proc-memory",
    group: Group::Processes,
    tries: "Read memory of another process through /proc",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = File::open(format!("/proc/{}/mem", scene.victim.pid)).step("opening")?;
    let mut bytes = vec![0; SECRET.len()];
    file.read_exact_at(&mut bytes, scene.victim.memory as u64).step("reading")?;
    scene.is_secret(bytes)
}
