use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "path-descriptor",
    group: Group::Exec,
    tries: "Execute a program by a descriptor opened with O_PATH",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let fd = open(&scene.program, flags, Mode::empty()).step("opening")?;
    sys::program::descriptor_runs(fd)
}
