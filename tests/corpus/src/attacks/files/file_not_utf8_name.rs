use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-not-utf8-name",
    group: Group::Files,
    tries: "Make a file that a deny rule names in a directory whose name is no UTF-8",
    who: Who::Anyone,
    compat: Compat::Open(
        "what a deny rule names inside an allowed directory is covered where it exists at start, and nowhere else",
    ),
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let deep = scene.workspace.join(OsStr::from_bytes(b"\xff\xfe\x80"));
    fs::create_dir_all(&deep).step("mkdir")?;
    fs::write(deep.join(".env"), "mine").step("making")?;
    sys::files::exists(deep.join(".env"))
}
