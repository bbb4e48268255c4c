use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-from-path-descriptor",
    group: Group::Files,
    tries: "Open a directory with O_PATH and then a file in it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let dir = sys::files::path_descriptor(&scene.outside)?;
    scene.is_secret(sys::files::read_at(dir, "secret")?)
}
