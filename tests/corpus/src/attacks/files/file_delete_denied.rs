use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-delete-denied",
    group: Group::Files,
    tries: "Delete a file in the workspace that a deny rule names",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    std::fs::remove_file(&scene.denied).step("deleting")?;
    sys::files::is_gone(&scene.denied)
}
