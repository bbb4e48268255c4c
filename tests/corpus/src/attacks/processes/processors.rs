use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "processors",
    group: Group::Processes,
    tries: "Bind another process to processors",
    who: Who::Anyone,
    compat: Compat::Open(
        "Landlock scopes signals and tracing, not what else users may do to their own processes",
    ),
    recorded: Recorded::As(&["signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let victim = Pid::from_raw(scene.victim.pid);
    let processors = sched_getaffinity(victim).step("asking")?;
    sched_setaffinity(victim, &processors).step("setting")
}
