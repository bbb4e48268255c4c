use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "watch-file-system",
    group: Group::Privilege,
    tries: "Get a descriptor of every file that somebody opens, with fanotify",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    // SAFETY: takes integers.
    sys::result(unsafe { libc::fanotify_init(libc::FAN_CLASS_CONTENT, libc::O_RDONLY as u32) }.into())
        .step("fanotify_init")
        .map(drop)
}
