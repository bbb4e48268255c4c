use crate::{
    Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who,
    sys::attributes::{self, ACCESS_LIST},
    verify,
};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-access-list",
    group: Group::Files,
    tries: "Give somebody else access to a file that no rule allows, with an access list",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let list = attributes::access_list();
    attributes::set(&scene.secret, ACCESS_LIST, &list).step("setxattr")?;
    verify(attributes::get(&scene.secret, ACCESS_LIST)? == list, "setting it")
}
