use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

const OPEN_TREE_CLONE: usize = 1;

pub(crate) const ATTACK: Attack = Attack {
    name: "detached-mount",
    group: Group::Privilege,
    tries: "Read a secret through a copy of a mount that is attached nowhere",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let outside = sys::c(&scene.outside);
    let arguments = [libc::AT_FDCWD as usize, outside.as_ptr().addr(), OPEN_TREE_CLONE, 0, 0, 0];
    // SAFETY: the path lives across the call.
    let fd = unsafe { sys::call(libc::SYS_open_tree, arguments) }.step("open_tree")?;
    scene.reads_secret(format!("/proc/self/fd/{fd}/secret"))
}
