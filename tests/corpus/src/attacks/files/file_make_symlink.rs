use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-make-symlink",
    group: Group::Files,
    tries: "Make a symbolic link where no rule allows it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let new = scene.outside.join("new");
    std::os::unix::fs::symlink(&scene.workspace, &new).step("linking")?;
    sys::files::exists(new)
}
