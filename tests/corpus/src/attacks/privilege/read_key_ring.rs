use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "read-key-ring",
    group: Group::Privilege,
    tries: "Read the key ring of the user",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict the key rings of the kernel"),
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let user = -4_isize as usize;
    // SAFETY: takes integers, and room of no length.
    unsafe {
        let ring = sys::call(libc::SYS_keyctl, [0, user, 1, 0, 0, 0]).step("asking for the key ring");
        let ring = sys::said(ring, Errno::ENOKEY, Errno::EACCES)?; // keys that may not be found are not there
        sys::call(libc::SYS_keyctl, [11, ring as usize, 0, 0, 0, 0]).step("reading it").map(drop)
    }
}
