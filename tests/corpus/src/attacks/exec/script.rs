use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "script",
    group: Group::Exec,
    tries: "Execute a script in the workspace whose interpreter is allowed",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let script = scene.own("script");
    std::fs::write(&script, "#!/usr/bin/sh\nexec /usr/bin/id\n").step("writing")?;
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).step("chmod")?;
    sys::program::prints_identity(&mut Command::new(script))
}
