use std::fs::{self, File};

use nix::fcntl::copy_file_range;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-copy-range",
    group: Group::Files,
    tries: "Copy a part of a file in the workspace into one that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mine = scene.own("mine");
    fs::write(&mine, "mine").step("writing")?;
    let (from, to) = (File::open(mine).step("opening")?, sys::files::writable(&scene.secret)?);
    let copied = copy_file_range(&from, None, &to, None, 4).step("copying")?;
    verify(copied == 4, "copying all of it")
}
