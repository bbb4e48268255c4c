use io_uring::opcode;
use nix::errno::Errno;

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-attribute",
    group: Group::IoUring,
    tries: "Set an attribute of a file through io_uring",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict attributes"),
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::SetXattr::CODE)?;
    let path = sys::c(&scene.secret);
    let (name, value) = (c"user.corpus", b"value");
    let entry = opcode::SetXattr::new(name.as_ptr(), value.as_ptr().cast(), path.as_ptr(), 5).build();
    // SAFETY: what it points to lives across the call.
    let set = unsafe { ring.perform(&entry) };
    sys::absent_if(set, Errno::EOPNOTSUPP, "attributes").step("setting").map(drop)
}
