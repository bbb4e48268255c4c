use std::os::fd::AsRawFd as _;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

const CLONE_INTO_CGROUP: u64 = 1 << 33;

pub(crate) const ATTACK: Attack = Attack {
    name: "identity-in-control-group",
    group: Group::Processes,
    tries: "Read a secret from a process started in another control group",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let group = sys::other::cgroup_of(1)?;
    let group = open(&group, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).step("opening")?;
    let mut arguments = [0_u64; 11];
    arguments[0] = CLONE_INTO_CGROUP;
    arguments[4] = libc::SIGCHLD as u64;
    arguments[10] = group.as_raw_fd() as u64;
    sys::in_child(|| {
        // SAFETY: a fork: the child has a copy of everything.
        let pid = unsafe { sys::call(libc::SYS_clone3, [arguments.as_ptr().addr(), 88, 0, 0, 0, 0]) }
            .step("clone3")?;
        if pid == 0 {
            return scene.reads_secret(&scene.secret); // told by the child, which comes first
        }
        waitpid(Pid::from_raw(pid as i32), None).step("waiting")?;
        // SAFETY: ends this process, which has nothing to tell.
        unsafe { libc::_exit(0) }
    })
}
