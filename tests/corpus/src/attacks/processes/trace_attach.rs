use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "trace-attach",
    group: Group::Processes,
    tries: "Attach to another process as its tracer",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let victim = Pid::from_raw(scene.victim.pid);
    ptrace::attach(victim).step("PTRACE_ATTACH")?;
    waitpid(victim, None).step("waiting")?;
    ptrace::detach(victim, None).step("PTRACE_DETACH")
}
