use io_uring::{IoUring, opcode};
use nix::errno::Errno;
use nix::sys::prctl;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-attribute-as-before",
    group: Group::Files,
    tries: "Set an extended attribute through io_uring with credentials from before they changed",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let ring = sys::absent_if(IoUring::new(8), Errno::ENOSYS, "io_uring");
    let mut ring = sys::absent_if(ring, Errno::EPERM, "io_uring, switched off").step("io_uring_setup")?;
    let before = ring.submitter().register_personality().step("registering")?;
    prctl::set_keepcaps(true).step("changing credentials")?; // to a copy that is as good as they were
    let (path, name, value) = (sys::c(&scene.secret), c"user.new", b"mine");
    let set = opcode::SetXattr::new(name.as_ptr(), value.as_ptr().cast(), path.as_ptr(), value.len() as u32);
    let entry = set.build().personality(before);
    // SAFETY: what the entry points to lives until it is done.
    unsafe { ring.submission().push(&entry) }.expect("room for one");
    ring.submit_and_wait(1).step("io_uring_enter")?;
    let result = ring.completion().next().expect("one answer").result();
    let set = if result < 0 { Err(Errno::from_raw(-result)) } else { Ok(()) };
    sys::absent_if(set, Errno::EOPNOTSUPP, "such attributes").step("setting")?;
    verify(sys::attributes::get(&scene.secret, name)? == value, "setting it")
}
