use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "signal-group",
    group: Group::Processes,
    tries: "Signal the group of another process",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["signal"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    killpg(Pid::from_raw(scene.victim.pid), Signal::SIGURG).step("kill")
}
