use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-reopened",
    group: Group::Files,
    tries: "Open a path with O_PATH and then the descriptor in /proc",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = sys::files::path_descriptor(&scene.secret)?;
    scene.reads_secret(sys::files::proc_path(&fd))
}
