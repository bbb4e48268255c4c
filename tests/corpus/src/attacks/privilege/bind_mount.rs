use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "bind-mount",
    group: Group::Privilege,
    tries: "Show a directory outside below the workspace with a bind mount",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let here = scene.own("mount");
    std::fs::create_dir(&here).step("mkdir")?;
    mount(Some(&scene.outside), &here, None::<&str>, MsFlags::MS_BIND, None::<&str>).step("mounting")?;
    let read = scene.reads_secret(here.join("secret"));
    umount2(&here, MntFlags::MNT_DETACH).step("unmounting")?;
    read
}
