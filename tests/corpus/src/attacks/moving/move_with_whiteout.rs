use std::os::unix::fs::FileTypeExt as _;

use nix::errno::Errno;
use nix::fcntl::RenameFlags;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-with-whiteout",
    group: Group::Moving,
    tries: "Rename a file away and leave a whiteout in its place",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (shared, away) = (&scene.victim.shared, scene.victim.shared.with_extension("away"));
    let renamed = sys::files::rename(shared, &away, RenameFlags::RENAME_WHITEOUT);
    sys::absent_if(renamed, Errno::EINVAL, "whiteouts on this file system")?;
    let left = shared.symlink_metadata()?;
    std::fs::remove_file(away).step("clearing away")?;
    verify(left.file_type().is_char_device(), "leaving a whiteout")
}
