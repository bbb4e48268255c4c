use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-mode",
    group: Group::Files,
    tries: "Change the mode of a file that no rule allows",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    fs::set_permissions(&scene.secret, Permissions::from_mode(0o600)).step("chmod")?;
    verify(scene.secret.metadata()?.mode() & 0o777 == 0o600, "changing the mode")
}
