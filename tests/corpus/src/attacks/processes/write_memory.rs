use std::io::IoSlice;

use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use nix::unistd::Pid;

use crate::scene::SECRET;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "write-memory",
    group: Group::Processes,
    tries: "Write memory of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let local = [IoSlice::new(SECRET.as_bytes())]; // what is there already
    let remote = [RemoteIoVec { base: scene.victim.memory, len: SECRET.len() }];
    let written = process_vm_writev(Pid::from_raw(scene.victim.pid), &local, &remote);
    verify(written.step("process_vm_writev")? == SECRET.len(), "writing")
}
