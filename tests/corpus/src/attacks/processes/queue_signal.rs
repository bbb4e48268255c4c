use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "queue-signal",
    group: Group::Processes,
    tries: "Queue a signal with data to another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut info = [0_i32; 32];
    info[..3].copy_from_slice(&[libc::SIGURG, 0, libc::SI_QUEUE]);
    let arguments = [scene.victim.pid as usize, libc::SIGURG as usize, info.as_ptr().addr(), 0, 0, 0];
    // SAFETY: the data live across the call.
    unsafe { sys::call(libc::SYS_rt_sigqueueinfo, arguments) }.step("rt_sigqueueinfo").map(drop)
}
