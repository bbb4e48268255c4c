use std::fs::File;

use nix::sched::{CloneFlags, setns};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "join-mount-namespace",
    group: Group::Privilege,
    tries: "Enter the mount namespace of another process by its name in /proc",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::in_child(|| {
        let file = File::open(format!("/proc/{}/ns/mnt", scene.victim.pid)).step("opening")?;
        setns(file, CloneFlags::CLONE_NEWNS).step("setns")
    })
}
