use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys::attributes, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-attribute-removal",
    group: Group::Files,
    tries: "Remove an extended attribute of a file that no rule allows",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    attributes::remove(&scene.secret, c"user.corpus").step("removexattr")?;
    verify(attributes::get(&scene.secret, c"user.corpus").is_err(), "removing it")
}
