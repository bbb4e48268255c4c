use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "priority",
    group: Group::Processes,
    tries: "Set the priority of another process",
    who: Who::Anyone,
    compat: Compat::Open(
        "Landlock scopes signals and tracing, not what else users may do to their own processes",
    ),
    recorded: Recorded::As(&["signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let victim = scene.victim.pid.cast_unsigned();
    // SAFETY: takes integers.
    let set = unsafe {
        let nice = libc::getpriority(libc::PRIO_PROCESS, victim);
        libc::setpriority(libc::PRIO_PROCESS, victim, nice)
    };
    sys::result(set.into()).step("setpriority").map(drop)
}
