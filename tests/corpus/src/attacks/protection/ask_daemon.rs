use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "ask-daemon",
    group: Group::Protection,
    tries: "Ask the daemon about itself",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["control"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    sys::control::ask(scene, "GET /v1/status HTTP/1.1\r\n", "", 200)
}
