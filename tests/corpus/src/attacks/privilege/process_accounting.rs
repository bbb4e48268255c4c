use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "process-accounting",
    group: Group::Privilege,
    tries: "Have the kernel write what every process did to a file",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let path = sys::c(&scene.own("absent")); // so the accounting stays as it is
    // SAFETY: the path lives across the call.
    let result = unsafe { sys::call(libc::SYS_acct, [path.as_ptr().addr(), 0, 0, 0, 0, 0]) };
    sys::past(result, Errno::ENOENT).step("acct")
}
