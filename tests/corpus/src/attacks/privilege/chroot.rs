use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "chroot",
    group: Group::Privilege,
    tries: "Make a directory outside the root directory",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::in_child(|| {
        nix::unistd::chroot(&scene.outside).step("chroot")?;
        scene.reads_secret("/secret")
    })
}
