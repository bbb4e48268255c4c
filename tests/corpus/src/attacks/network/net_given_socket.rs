use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-given-socket",
    group: Group::Network,
    tries: "Use a connection that another process made and handed over",
    who: Who::Anyone,
    compat: Compat::Open("a connection is decided when it is made, not when it is handed over"),
    recorded: Recorded::As(&["use"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    net::greets(net::given(&scene.victim.gives_socket)?)
}
