use crate::scene::{SECRET, Victim};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "read-memory",
    group: Group::Processes,
    tries: "Read memory of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let Victim { pid, memory, .. } = scene.victim;
    scene.is_secret(sys::other::memory_of(pid, memory, SECRET.len())?)
}
