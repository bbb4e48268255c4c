use crate::sys::memory::{self, Page};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "writable-code",
    group: Group::Exec,
    tries: "Map memory that is writable and executable",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict what memory is executable"),
    recorded: Recorded::As(&["map-exec", "privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    Page::anonymous(memory::ALL)?.with_code().runs()
}
