use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "performance-events",
    group: Group::Privilege,
    tries: "Watch all processes of a processor with performance events",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let mut attributes = [0_u32; 16];
    attributes[..2].copy_from_slice(&[1, 64]); // a software event, the processor's clock; size
    let arguments = [attributes.as_ptr().addr(), usize::MAX, 0, usize::MAX, 0, 0]; // any process, processor 0
    // SAFETY: the attributes live across the call.
    unsafe { sys::call(libc::SYS_perf_event_open, arguments) }.step("perf_event_open").map(drop)
}
