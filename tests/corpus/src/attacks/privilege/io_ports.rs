use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "io-ports",
    group: Group::Privilege,
    tries: "Use ports of devices",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    // SAFETY: only gives leave to use a port, which nothing does.
    sys::result(unsafe { libc::ioperm(0x80, 1, 1) }.into()).step("ioperm").map(drop)
}
