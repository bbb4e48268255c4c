use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "clone-user-namespace",
    group: Group::Privilege,
    tries: "Start a process in a new user namespace with clone3",
    who: Who::Anyone,
    compat: Compat::Open("unprivileged users may make user namespaces, and no hook of this level sees it"),
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let mut arguments = [0_u64; 8];
    arguments[0] = CloneFlags::CLONE_NEWUSER.bits().cast_unsigned().into();
    arguments[4] = libc::SIGCHLD as u64;
    // SAFETY: a fork: the child has a copy of everything, and ends at once.
    let pid =
        unsafe { sys::call(libc::SYS_clone3, [arguments.as_ptr().addr(), 64, 0, 0, 0, 0]) }.step("clone3")?;
    if pid == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) }
    }
    waitpid(Pid::from_raw(pid as i32), None).step("waiting")?;
    Ok(())
}
