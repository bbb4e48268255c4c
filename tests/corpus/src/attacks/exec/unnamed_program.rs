use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "unnamed-program",
    group: Group::Exec,
    tries: "Execute a program in a file of the workspace that never had a name",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec", "privilege", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let fd = open(&scene.workspace, flags, Mode::S_IRWXU).step("making the file");
    let fd = sys::absent_if(fd, Errno::EOPNOTSUPP, "a file system with nameless files")?;
    let mut writer = File::from(fd);
    std::io::copy(&mut File::open("/usr/bin/id")?, &mut writer).step("writing")?;
    let reader = File::open(format!("/proc/self/fd/{}", writer.as_raw_fd())).step("opening it again")?;
    drop(writer); // the kernel executes nothing that is open for writing
    sys::program::descriptor_runs(reader)
}
