use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-mode-by-descriptor",
    group: Group::Files,
    tries: "Change the mode of a file that may only be read, by a descriptor",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let file = File::open(scene.readable.join("text")).step("opening")?;
    file.set_permissions(Permissions::from_mode(0o600)).step("fchmod")?;
    verify(file.metadata()?.mode() & 0o777 == 0o600, "changing the mode")
}
