use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-make-directory",
    group: Group::Files,
    tries: "Make a directory where no rule allows it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let new = scene.outside.join("new");
    std::fs::create_dir(&new).step("mkdir")?;
    sys::files::exists(new)
}
