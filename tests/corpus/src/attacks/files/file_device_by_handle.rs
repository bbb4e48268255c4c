use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys::files::Handle};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-device-by-handle",
    group: Group::Files,
    tries: "Open a device for writing by its handle instead of its path",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open", "privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let handle = Handle::of(Path::new("/dev/zero"))?;
    let mount = File::open("/dev/null").step("opening a device")?;
    handle.open(mount, libc::O_WRONLY)?.write_all(b"mine").step("writing")
}
