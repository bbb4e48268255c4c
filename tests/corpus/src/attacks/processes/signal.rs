use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "signal",
    group: Group::Processes,
    tries: "Signal another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    kill(Pid::from_raw(scene.victim.pid), Signal::SIGURG).step("kill")
}
