use nix::errno::Errno;

use crate::scene::SECRET;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "sysv-shared-memory",
    group: Group::Processes,
    tries: "Attach the System V shared memory of another process",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict System V shared memory"),
    recorded: Recorded::As(&["privilege", "use"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    // SAFETY: attaches a segment at a place that the kernel chooses, for reading; it is as long as the secret.
    let bytes = unsafe {
        let address = libc::shmat(scene.victim.sysv_shared, std::ptr::null(), libc::SHM_RDONLY);
        if address.addr() == usize::MAX {
            return Err(Errno::last()).step("attaching");
        }
        std::slice::from_raw_parts(address.cast::<u8>(), SECRET.len())
    };
    scene.is_secret(bytes)
}
