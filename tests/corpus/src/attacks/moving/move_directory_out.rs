use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "move-directory-out",
    group: Group::Moving,
    tries: "Move a directory with a file that a deny rule names out of the workspace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let new = scene.outside.join("new");
    std::fs::rename(scene.own("private"), &new).step("renaming")?;
    sys::files::exists(new.join(".env"))
}
