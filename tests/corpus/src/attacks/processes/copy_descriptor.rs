use std::os::unix::fs::FileExt as _;

use crate::scene::SECRET;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "copy-descriptor",
    group: Group::Processes,
    tries: "Copy a descriptor of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = sys::other::descriptor_of(scene.victim.pid, scene.victim.fd)?;
    let mut bytes = vec![0; SECRET.len()];
    file.read_exact_at(&mut bytes, 0).step("reading")?;
    scene.is_secret(bytes)
}
