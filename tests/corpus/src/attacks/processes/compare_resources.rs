use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "compare-resources",
    group: Group::Processes,
    tries: "Learn addresses of the kernel from what another process shares",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let arguments = [std::process::id() as usize, scene.victim.pid as usize, 1, 0, 0, 0]; // memory
    // SAFETY: takes integers.
    unsafe { sys::call(libc::SYS_kcmp, arguments) }.step("kcmp").map(drop)
}
