use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "bpf-program",
    group: Group::Privilege,
    tries: "Load a BPF program that sees other processes",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    sys::bpf::load_program()
}
