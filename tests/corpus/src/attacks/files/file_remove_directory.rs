use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-remove-directory",
    group: Group::Files,
    tries: "Remove a directory that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let empty = scene.outside.join("empty");
    std::fs::remove_dir(&empty).step("rmdir")?;
    sys::files::is_gone(empty)
}
