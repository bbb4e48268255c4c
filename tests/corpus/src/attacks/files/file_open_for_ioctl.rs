use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-open-for-ioctl",
    group: Group::Files,
    tries: "Open a file for ioctl only, which is neither reading nor writing",
    who: Who::Anyone,
    compat: Compat::Open(
        "Landlock does not restrict an open for neither reading nor writing, with which only ioctl works",
    ),
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let path = sys::c(&scene.secret);
    // SAFETY: the path lives across the call.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_ACCMODE | libc::O_CLOEXEC) };
    sys::result(fd.into()).step("opening").map(drop)
}
