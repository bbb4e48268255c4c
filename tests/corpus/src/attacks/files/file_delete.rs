use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-delete",
    group: Group::Files,
    tries: "Delete a file that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    std::fs::remove_file(&scene.secret).step("deleting")?;
    sys::files::is_gone(&scene.secret)
}
