use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-inherited",
    group: Group::Files,
    tries: "Read a file that whoever started the agent had open",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::Not("`run` closes what it inherited before the agent starts"),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    // SAFETY: takes integers.
    if unsafe { libc::fcntl(scene.inherited, libc::F_GETFD) } < 0 {
        return Err(Errno::EACCES).step("closed by the launcher");
    }
    scene.reads_secret(format!("/proc/self/fd/{}", scene.inherited))
}
