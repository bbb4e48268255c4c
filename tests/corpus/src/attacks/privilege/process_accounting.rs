use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "process-accounting",
    group: Group::Privilege,
    tries: "Turn the accounting of processes off",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    // SAFETY: takes no path: accounting, which nothing here has turned on, is off.
    unsafe { sys::call(libc::SYS_acct, [0; 6]) }.step("acct").map(drop)
}
