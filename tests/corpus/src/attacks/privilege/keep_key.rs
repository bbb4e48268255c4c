use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "keep-key",
    group: Group::Privilege,
    tries: "Keep data for other processes in the key ring of the user",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict the key rings of the kernel"),
    recorded: Recorded::As(&["privilege"]),
    run,
};

/// `KEYCTL_UNLINK`
const UNLINK: usize = 9;

fn run(_scene: &Scene) -> Result<(), Stop> {
    let data = b"data";
    let user = -4_isize as usize; // the key ring that all processes of the user have
    let (kind, name) = (c"user".as_ptr().addr(), c"agentguard-corpus".as_ptr().addr());
    // SAFETY: every pointer is to what the call wants, and lives across it.
    unsafe {
        let arguments = [kind, name, data.as_ptr().addr(), data.len(), user, 0];
        let key = sys::call(libc::SYS_add_key, arguments).step("add_key");
        let key = sys::said(key, Errno::ENOKEY, Errno::EACCES)? as usize; // a ring that may not be found is not there
        sys::call(libc::SYS_keyctl, [UNLINK, key, user, 0, 0, 0]).step("removing it").map(drop)
    }
}
