use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys::attributes, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-attribute-set",
    group: Group::Files,
    tries: "Set an extended attribute of a file that no rule allows",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    attributes::set(&scene.secret, c"user.new", b"mine").step("setxattr")?;
    verify(attributes::get(&scene.secret, c"user.new")? == b"mine", "setting it")
}
