use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "read-kernel-log",
    group: Group::Privilege,
    tries: "Read the log of the kernel",
    who: Who::Root,
    compat: Compat::Depends("refused where kernel.dmesg_restrict is 1, else open to every user"),
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let mut log = vec![0_u8; 4096];
    // SAFETY: the room lives across the call; 3 is to read all.
    let read = unsafe { libc::klogctl(3, log.as_mut_ptr().cast(), log.len() as i32) };
    verify(sys::result(read.into()).step("syslog")? > 0, "reading")
}
