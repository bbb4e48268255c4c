use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "set-clock",
    group: Group::Privilege,
    tries: "Set how fast the clock runs, to what it is",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    // SAFETY: integers and spare room; zero is a value of all of them.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives across the call, which only asks.
    sys::result(unsafe { libc::adjtimex(&raw mut change) }.into()).step("asking")?;
    // The length of a tick: anything else would also end the clock's synchronisation.
    change.modes = libc::ADJ_TICK;
    // SAFETY: as above.
    sys::result(unsafe { libc::adjtimex(&raw mut change) }.into()).step("adjtimex").map(drop)
}
