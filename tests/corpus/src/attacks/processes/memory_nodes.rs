use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "memory-nodes",
    group: Group::Processes,
    tries: "Ask where memory of another process is",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace", "signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let page = scene.victim.memory & !4095;
    let mut status = -1_i32;
    let arguments = [scene.victim.pid as usize, 1, (&raw const page).addr(), 0, (&raw mut status).addr(), 0];
    // SAFETY: page and answer live across the call.
    unsafe { sys::call(libc::SYS_move_pages, arguments) }.step("move_pages")?;
    verify(std::hint::black_box(status) >= 0, "the node")
}
