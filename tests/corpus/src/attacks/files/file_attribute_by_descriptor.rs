use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-attribute-by-descriptor",
    group: Group::Files,
    tries: "Set an extended attribute of a file that may only be read, by a descriptor",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = File::open(scene.readable.join("text")).step("opening")?;
    let path = sys::files::proc_path(&file);
    let (fd, name, value) = (file.as_raw_fd(), c"user.new", b"mine");
    // SAFETY: the name and the value live across the call.
    let set = unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    sys::absent_if(sys::result(set.into()), Errno::EOPNOTSUPP, "such attributes").step("fsetxattr")?;
    verify(sys::attributes::get(&path, name)? == value, "setting it")
}
