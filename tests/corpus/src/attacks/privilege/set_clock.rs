use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "set-clock",
    group: Group::Privilege,
    tries: "Set the clock, by nothing",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    // SAFETY: integers and spare room; zero is a value of all of them.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_SETOFFSET;
    // SAFETY: the change lives across the call.
    sys::result(unsafe { libc::adjtimex(&raw mut change) }.into()).step("adjtimex").map(drop)
}
