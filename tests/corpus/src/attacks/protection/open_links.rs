use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "open-links",
    group: Group::Protection,
    tries: "Open BPF links of the daemon by their ids, to detach them",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    sys::bpf::open_first(sys::bpf::LINKS)
}
