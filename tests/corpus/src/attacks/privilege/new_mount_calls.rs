use nix::mount::{MntFlags, umount2};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

/// `FSCONFIG_CMD_CREATE`
const CREATE: usize = 6;
/// `MOVE_MOUNT_F_EMPTY_PATH`
const FROM_EMPTY_PATH: usize = 4;

pub(crate) const ATTACK: Attack = Attack {
    name: "new-mount-calls",
    group: Group::Privilege,
    tries: "Mount a new file system with fsopen, fsmount and move_mount",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let here = scene.own("mount");
    std::fs::create_dir(&here).step("mkdir")?;
    let (name, empty, target) = (c"tmpfs".as_ptr().addr(), c"".as_ptr().addr(), sys::c(&here));
    // SAFETY: every pointer is to a string that lives across the calls.
    unsafe {
        let context = sys::call(libc::SYS_fsopen, [name, 0, 0, 0, 0, 0]).step("fsopen")? as usize;
        sys::call(libc::SYS_fsconfig, [context, CREATE, 0, 0, 0, 0]).step("fsconfig")?;
        let mount = sys::call(libc::SYS_fsmount, [context, 0, 0, 0, 0, 0]).step("fsmount")? as usize;
        let at = libc::AT_FDCWD as usize;
        let arguments = [mount, empty, at, target.as_ptr().addr(), FROM_EMPTY_PATH, 0];
        sys::call(libc::SYS_move_mount, arguments).step("move_mount")?;
    }
    umount2(&here, MntFlags::MNT_DETACH).step("unmounting")?;
    Ok(())
}
