use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-make-pipe",
    group: Group::Files,
    tries: "Make a named pipe where no rule allows it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let new = scene.outside.join("new");
    mkfifo(&new, Mode::S_IRWXU).step("mkfifo")?;
    sys::files::exists(new)
}
