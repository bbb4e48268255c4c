use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

// Both from 6.17 on.
const FILE_GETATTR: i64 = 468;
const FILE_SETATTR: i64 = 469;
const FS_XFLAG_NODUMP: u64 = 0x80;

pub(crate) const ATTACK: Attack = Attack {
    name: "file-flags-by-path",
    group: Group::Files,
    tries: "Set a flag of a file that no rule allows by its path",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (at, path) = (libc::AT_FDCWD as usize, sys::c(&scene.secret));
    let mut attributes = [FS_XFLAG_NODUMP, 0, 0];
    let arguments =
        [at, path.as_ptr().addr(), attributes.as_mut_ptr().addr(), size_of_val(&attributes), 0, 0];
    // SAFETY: the path and the attributes live across the call.
    let set = unsafe { sys::call(FILE_SETATTR, arguments) };
    sys::absent_if(set, Errno::EOPNOTSUPP, "flags on this file system").step("file_setattr")?;
    // SAFETY: as above.
    unsafe { sys::call(FILE_GETATTR, arguments) }.step("file_getattr")?;
    verify(attributes[0] & FS_XFLAG_NODUMP != 0, "setting it")
}
