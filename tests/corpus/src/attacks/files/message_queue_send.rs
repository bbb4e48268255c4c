use std::ffi::CString;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "message-queue-send",
    group: Group::Files,
    tries: "Send a message to a POSIX message queue of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let name = CString::new(scene.victim.queue.as_str()).expect("no null byte");
    // SAFETY: the name and the message live across the calls.
    unsafe {
        let queue = libc::mq_open(name.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        sys::result(queue.into()).step("mq_open")?;
        sys::result(libc::mq_send(queue, c"mine".as_ptr(), 4, 0).into()).step("mq_send").map(drop)
    }
}
