use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-truncate-by-open",
    group: Group::Files,
    tries: "Empty a file that may only be read by opening it for reading with O_TRUNC",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let text = scene.readable.join("text");
    open(&text, OFlag::O_RDONLY | OFlag::O_TRUNC | OFlag::O_CLOEXEC, Mode::empty()).step("opening")?;
    sys::files::has_len(text, 0)
}
