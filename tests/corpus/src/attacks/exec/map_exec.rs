use crate::sys::memory::{self, Page};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "map-exec",
    group: Group::Exec,
    tries: "Map a file of the workspace executable",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict mapping a readable file executable"),
    recorded: Recorded::As(&["map-exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    Page::of(memory::code_file(scene)?, memory::READ_EXEC)?.runs()
}
