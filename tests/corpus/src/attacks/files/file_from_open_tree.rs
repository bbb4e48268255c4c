use std::os::fd::{FromRawFd as _, OwnedFd};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-from-open-tree",
    group: Group::Files,
    tries: "Take hold of a directory with open_tree and open a file in it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (at, path) = (libc::AT_FDCWD as usize, sys::c(&scene.outside));
    let arguments = [at, path.as_ptr().addr(), libc::O_CLOEXEC as usize, 0, 0, 0];
    // SAFETY: the path lives across the call.
    let fd = unsafe { sys::call(libc::SYS_open_tree, arguments) }.step("open_tree")?;
    // SAFETY: a fresh fd that nothing else owns.
    let dir = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    scene.is_secret(sys::files::read_at(dir, "secret")?)
}
