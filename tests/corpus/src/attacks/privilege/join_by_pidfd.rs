use nix::sched::{CloneFlags, setns};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "join-by-pidfd",
    group: Group::Privilege,
    tries: "Enter the mount namespace of another process by its descriptor",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::in_child(|| {
        let process = sys::other::pidfd(scene.victim.pid)?;
        setns(process, CloneFlags::CLONE_NEWNS).step("setns")
    })
}
