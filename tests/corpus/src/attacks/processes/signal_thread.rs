use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "signal-thread",
    group: Group::Processes,
    tries: "Signal a thread of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let pid = scene.victim.pid as usize;
    // SAFETY: takes integers.
    unsafe { sys::call(libc::SYS_tgkill, [pid, pid, libc::SIGURG as usize, 0, 0, 0]) }
        .step("tgkill")
        .map(drop)
}
