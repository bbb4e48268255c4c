use std::fs::File;
use std::io::Read as _;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-openat2",
    group: Group::Files,
    tries: "Open an absolute path that is taken to start at a directory that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let dir = sys::files::path_descriptor(&scene.outside)?;
    let how = OpenHow::new().flags(OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let mut file = File::from(openat2(dir, "/secret", how).step("opening")?);
    let mut text = String::new();
    file.read_to_string(&mut text).step("reading")?;
    scene.is_secret(text)
}
