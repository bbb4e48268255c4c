use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::linkat;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "link-unnamed",
    group: Group::Moving,
    tries: "Give a file without a name one that a deny rule names",
    who: Who::Anyone,
    compat: Compat::Open(
        "what a deny rule names inside an allowed directory is covered where it exists at start, and nowhere else",
    ),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let fd = open(&scene.own("tmp"), flags, Mode::S_IRWXU);
    let fd = sys::absent_if(fd, Errno::EOPNOTSUPP, "files without a name").step("opening")?;
    let (path, new) = (sys::files::proc_path(&fd), scene.own("tmp/.env"));
    linkat(AT_FDCWD, &path, AT_FDCWD, &new, AtFlags::AT_SYMLINK_FOLLOW).step("linking")?;
    sys::files::exists(new)
}
