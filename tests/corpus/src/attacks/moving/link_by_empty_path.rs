use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-by-empty-path",
    group: Group::Moving,
    tries: "Read a file through a hard link of a descriptor",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (fd, mine) = (sys::files::path_descriptor(&scene.secret)?, scene.own("tmp/mine"));
    linkat(fd, "", AT_FDCWD, &mine, AtFlags::AT_EMPTY_PATH).step("linking")?;
    scene.reads_secret(mine)
}
