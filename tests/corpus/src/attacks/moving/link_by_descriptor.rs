use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-by-descriptor",
    group: Group::Moving,
    tries: "Read a file through a hard link of a descriptor in /proc",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (fd, mine) = (sys::files::path_descriptor(&scene.secret)?, scene.own("tmp/mine"));
    let path = sys::files::proc_path(&fd);
    linkat(AT_FDCWD, &path, AT_FDCWD, &mine, AtFlags::AT_SYMLINK_FOLLOW).step("linking")?;
    scene.reads_secret(mine)
}
