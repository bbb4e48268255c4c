use crate::sys::memory::{self, Page};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "anonymous-memory",
    group: Group::Exec,
    tries: "Write code to memory, then make it executable",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict what memory is executable"),
    recorded: Recorded::As(&["map-exec", "privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    Page::anonymous(memory::READ_WRITE)?.with_code().protect(memory::READ_EXEC)?.runs()
}
