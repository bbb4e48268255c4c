use std::os::unix::fs::MetadataExt as _;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-times",
    group: Group::Files,
    tries: "Set the times of a file that no rule allows",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let then = TimeSpec::new(1, 0);
    utimensat(AT_FDCWD, &scene.secret, &then, &then, UtimensatFlags::FollowSymlink).step("utimensat")?;
    verify(scene.secret.metadata()?.mtime() == 1, "setting the times")
}
