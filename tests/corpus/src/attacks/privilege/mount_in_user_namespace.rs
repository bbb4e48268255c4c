use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "mount-in-user-namespace",
    group: Group::Privilege,
    tries: "Cover a file with a denied one, in an own user and mount namespace",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let cover = scene.own("cover");
    std::fs::write(&cover, "").step("writing")?;
    sys::in_child(|| {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).step("unshare")?;
        mount(Some(&scene.denied), &cover, None::<&str>, MsFlags::MS_BIND, None::<&str>).step("mounting")?;
        scene.reads_secret(&cover)
    })
}
