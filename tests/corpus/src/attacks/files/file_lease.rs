use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-lease",
    group: Group::Files,
    tries: "Hold up whoever writes to a file that may only be read, with a lease",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict leases"),
    recorded: Recorded::As(&["path", "use", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = File::open(scene.readable.join("text")).step("opening")?;
    // SAFETY: takes integers.
    let leased = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    sys::absent_if(sys::result(leased.into()), Errno::EINVAL, "leases on this file system")
        .step("F_SETLEASE")
        .map(drop)
}
