use std::fs::Permissions;
use std::io::Read as _;
use std::os::fd::FromRawFd as _;
use std::os::unix::fs::PermissionsExt as _;

use io_uring::{opcode, types};
use nix::unistd::{setresgid, setresuid};

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

const NOBODY: u32 = 65534;

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-open-as-before",
    group: Group::IoUring,
    tries: "Open a file through io_uring with credentials from before they were given up",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open", "path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::OpenAt::CODE)?;
    let path = sys::c(&scene.secret);
    std::fs::set_permissions(&scene.secret, Permissions::from_mode(0o600)).step("chmod")?;
    let personality = ring.0.submitter().register_personality().step("registering")?;
    setresgid(NOBODY.into(), NOBODY.into(), NOBODY.into()).step("setresgid")?;
    setresuid(NOBODY.into(), NOBODY.into(), NOBODY.into()).step("setresuid")?;
    verify(std::fs::read(&scene.secret).is_err(), "giving up")?;
    let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build().personality(personality);
    // SAFETY: the path lives across the call, and the descriptor is fresh.
    let mut file = unsafe { std::fs::File::from_raw_fd(ring.perform(&open).step("opening")?) };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).step("reading")?;
    scene.is_secret(bytes)
}
