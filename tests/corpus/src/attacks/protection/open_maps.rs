use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "open-maps",
    group: Group::Protection,
    tries: "Open BPF maps of the daemon by their ids",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    sys::bpf::open_first(sys::bpf::MAPS)
}
