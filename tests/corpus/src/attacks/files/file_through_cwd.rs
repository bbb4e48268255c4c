use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-through-cwd",
    group: Group::Files,
    tries: "Go to a directory that no rule allows and read a file there through the link in /proc",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    std::env::set_current_dir(&scene.outside).step("going there")?;
    scene.reads_secret("/proc/self/cwd/secret")
}
