use std::fs::File;

use nix::sys::sendfile::sendfile;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-send",
    group: Group::Files,
    tries: "Send a file to one in the workspace without reading it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let secret = File::open(&scene.secret).step("opening")?;
    let mine = File::create(scene.own("mine")).step("making")?;
    sendfile(&mine, &secret, None, 64).step("sendfile")?;
    scene.reads_secret(scene.own("mine"))
}
