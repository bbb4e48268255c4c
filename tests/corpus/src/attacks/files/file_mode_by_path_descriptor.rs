use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-mode-by-path-descriptor",
    group: Group::Files,
    tries: "Change the mode of a file that no rule allows, by a descriptor opened with O_PATH",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = sys::files::path_descriptor(&scene.secret)?;
    fs::set_permissions(sys::files::proc_path(&fd), Permissions::from_mode(0o600)).step("chmod")?;
    verify(scene.secret.metadata()?.mode() & 0o777 == 0o600, "changing the mode")
}
