use std::fs::File;

use crate::sys::memory::{self, Page};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "patched-library",
    group: Group::Exec,
    tries: "Change a private mapping of an allowed library, and make it executable",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict what memory is executable"),
    recorded: Recorded::As(&["map-exec", "privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let maps = std::fs::read_to_string("/proc/self/maps").step("reading maps")?;
    let library = maps.split_ascii_whitespace().find(|w| w.contains("/libc.so"));
    let file = File::open(library.ok_or_else(|| Stop::absent("a libc to map"))?).step("opening")?;
    Page::of(file, memory::READ_WRITE)?.with_code().protect(memory::READ_EXEC)?.runs()
}
