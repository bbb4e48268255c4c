use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "mount-tmpfs",
    group: Group::Privilege,
    tries: "Mount a new file system",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let here = scene.own("mount");
    std::fs::create_dir(&here).step("mkdir")?;
    mount(Some("none"), &here, Some("tmpfs"), MsFlags::empty(), None::<&str>).step("mounting")?;
    umount2(&here, MntFlags::MNT_DETACH).step("unmounting")?;
    Ok(())
}
