use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys::attributes};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-access-list-removal",
    group: Group::Files,
    tries: "Remove the access list of a file that no rule allows",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    attributes::remove(&scene.secret, c"system.posix_acl_access").step("removexattr")
}
