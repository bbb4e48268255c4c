use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "set-host-name",
    group: Group::Privilege,
    tries: "Set the name of the host, to what it is",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").step("reading")?;
    let name = name.trim_end();
    // SAFETY: the name lives across the call.
    sys::result(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into())
        .step("sethostname")
        .map(drop)
}
