use std::ffi::CString;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "message-queue-make",
    group: Group::Files,
    tries: "Make a POSIX message queue",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let name = CString::new(format!("{}-new", scene.victim.queue)).expect("no null byte");
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the name and the attributes, of which all zero are valid ones, live across the calls.
    unsafe {
        let mut attributes: libc::mq_attr = std::mem::zeroed();
        (attributes.mq_maxmsg, attributes.mq_msgsize) = (1, 64);
        let queue = libc::mq_open(name.as_ptr(), flags, 0o600 as libc::mode_t, &raw mut attributes);
        let made = sys::result(queue.into()).step("mq_open");
        libc::mq_unlink(name.as_ptr()); // also where it was made and could not be opened
        made.map(drop)
    }
}
