use crate::sys::memory::{self, Page};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "map-memory-file",
    group: Group::Exec,
    tries: "Map a memory file executable",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict what memory is executable"),
    recorded: Recorded::As(&["map-exec", "privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    Page::of(memory::file(&[memory::CODE.as_slice(), &[0; 4090]].concat())?, memory::READ_EXEC)?.runs()
}
