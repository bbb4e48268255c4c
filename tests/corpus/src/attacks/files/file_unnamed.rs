use std::fs::File;
use std::io::Write as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys::absent_if};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-unnamed",
    group: Group::Files,
    tries: "Make a file without a name in a directory that may only be read",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let fd =
        absent_if(open(&scene.readable, flags, Mode::S_IRWXU), Errno::EOPNOTSUPP, "files without a name");
    File::from(fd.step("opening")?).write_all(b"mine").step("writing")
}
