use std::io::Write as _;

use nix::fcntl::{SpliceFFlags, splice};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-splice",
    group: Group::Files,
    tries: "Move bytes from a pipe into a file that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (reader, mut writer) = std::io::pipe().step("pipe")?;
    writer.write_all(b"mine").step("writing")?;
    let file = sys::files::writable(&scene.secret)?;
    let moved = splice(&reader, None, &file, None, 4, SpliceFFlags::empty()).step("splice")?;
    verify(moved == 4, "moving them all")
}
