use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "memory-program",
    group: Group::Exec,
    tries: "Execute a program in a memory file by its descriptor",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict executing what has no path"),
    recorded: Recorded::As(&["exec", "privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    sys::program::descriptor_runs(sys::program::memory_file()?)
}
