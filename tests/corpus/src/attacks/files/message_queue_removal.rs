use std::ffi::CString;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "message-queue-removal",
    group: Group::Files,
    tries: "Remove a POSIX message queue of another process",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict the removal of message queues"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let name = CString::new(scene.victim.queue.as_str()).expect("no null byte");
    // SAFETY: the name lives across the call.
    sys::result(unsafe { libc::mq_unlink(name.as_ptr()) }.into()).step("mq_unlink").map(drop)
}
