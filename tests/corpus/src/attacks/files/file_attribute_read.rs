use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys::attributes};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-attribute-read",
    group: Group::Files,
    tries: "Read an extended attribute of a file that no rule allows",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict reading of attributes"),
    recorded: Recorded::As(&["open", "path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    scene.is_secret(attributes::get(&scene.secret, c"user.corpus").step("getxattr")?)
}
