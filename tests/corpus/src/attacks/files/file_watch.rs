use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::net::UnixStream;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-watch",
    group: Group::Files,
    tries: "Learn the names of the files that others open in a directory that no rule allows",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict watching"),
    recorded: Recorded::As(&["open", "path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC).step("inotify_init")?;
    watch.add_watch(&scene.outside, AddWatchFlags::IN_OPEN).step("watching")?;
    let mut socket = UnixStream::connect(&scene.victim.gives_fd).step("connecting")?;
    socket.read_exact(&mut [0]).step("waiting for the victim to open the secret")?;
    let events = watch.read_events().step("reading")?;
    verify(events.iter().any(|event| event.name.as_deref() == Some(OsStr::new("secret"))), "reading the name")
}
