use nix::sys::personality::{self, Persona};

use crate::sys::memory::{self, Page};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "read-implies-exec",
    group: Group::Exec,
    tries: "Have the kernel add execution to every readable mapping",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict mapping a readable file executable"),
    recorded: Recorded::As(&["map-exec", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = memory::code_file(scene)?;
    sys::in_child(|| {
        personality::set(Persona::READ_IMPLIES_EXEC).step("personality")?;
        Page::of(&file, memory::READ)?.runs()
    })
}
