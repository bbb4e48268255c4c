use std::fs::File;
use std::io::Read as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys::files::Handle};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-by-handle",
    group: Group::Files,
    tries: "Open a file by its handle instead of its path",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let handle = Handle::of(&scene.secret)?;
    let mount = File::open(&scene.workspace).step("opening the workspace")?;
    let mut text = String::new();
    handle.open(mount, libc::O_RDONLY)?.read_to_string(&mut text).step("reading")?;
    scene.is_secret(text)
}
