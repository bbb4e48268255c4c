use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-core-dump",
    group: Group::Files,
    tries: "Crash in a directory that no rule allows, so that the kernel writes a memory dump there",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").step("reading the pattern")?;
    let (_, most) = getrlimit(Resource::RLIMIT_CORE).step("asking for limits")?;
    if pattern.starts_with(['|', '/']) || most == 0 {
        return Err(Stop::absent("memory dumps in the current directory"));
    }
    setrlimit(Resource::RLIMIT_CORE, most, most).step("setting limits")?;
    std::env::set_current_dir(&scene.outside).step("going there")?;
    // SAFETY: the attack has one thread, and its child only ends.
    let ForkResult::Parent { child } = unsafe { fork() }.step("forking")? else { std::process::abort() };
    let dumped = matches!(waitpid(child, None).step("waiting")?, WaitStatus::Signaled(_, _, true));
    if dumped { Ok(()) } else { Err(Errno::EACCES).step("dumping") }
}
