use nix::sys::statvfs::{FsFlags, statvfs};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

/// `MOUNT_ATTR__ATIME`
const ATTR_ATIME: u64 = 0x70;

pub(crate) const ATTACK: Attack = Attack {
    name: "mount-attributes",
    group: Group::Privilege,
    tries: "Change attributes of a mount, to what they are",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let path = c"/dev/shm";
    let flags = statvfs(path).step("statvfs")?.flags();
    if !flags.contains(FsFlags::ST_RELATIME) {
        return Err(Stop::absent("a mount with relatime"));
    }
    let attributes: [u64; 4] = [0, ATTR_ATIME, 0, 0]; // set relatime, which is 0, and clear the others
    let (at, path) = (libc::AT_FDCWD as usize, path.as_ptr().addr());
    // SAFETY: path and attributes live across the call.
    unsafe { sys::call(libc::SYS_mount_setattr, [at, path, 0, attributes.as_ptr().addr(), 32, 0]) }
        .step("mount_setattr")
        .map(drop)
}
