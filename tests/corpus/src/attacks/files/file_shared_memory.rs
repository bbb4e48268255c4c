use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::mman::shm_open;
use nix::sys::stat::Mode;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-shared-memory",
    group: Group::Files,
    tries: "Read a POSIX shared memory object of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let name = Path::new("/").join(scene.victim.shared.file_name().expect("a name"));
    let fd = shm_open(&name, OFlag::O_RDONLY, Mode::empty()).step("shm_open")?;
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).step("reading")?;
    scene.is_secret(text)
}
