use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "robust-list",
    group: Group::Processes,
    tries: "Learn an address in another process from its list of locks",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let (mut head, mut len) = (0_usize, 0_usize);
    let arguments = [scene.victim.pid as usize, (&raw mut head).addr(), (&raw mut len).addr(), 0, 0, 0];
    // SAFETY: the answers live across the call.
    unsafe { sys::call(libc::SYS_get_robust_list, arguments) }.step("get_robust_list")?;
    verify(std::hint::black_box(head) != 0, "reading")
}
