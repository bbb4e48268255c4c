use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "io-priority",
    group: Group::Processes,
    tries: "Set the priority of the reads and writes of another process",
    who: Who::Anyone,
    compat: Compat::Open(
        "Landlock scopes signals and tracing, not what else users may do to their own processes",
    ),
    recorded: Recorded::As(&["signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let best_effort = 2 << 13 | 4;
    // SAFETY: takes integers.
    unsafe { sys::call(libc::SYS_ioprio_set, [1, scene.victim.pid as usize, best_effort, 0, 0, 0]) }
        .step("ioprio_set")
        .map(drop)
}
