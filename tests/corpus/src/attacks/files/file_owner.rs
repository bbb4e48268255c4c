use std::os::unix::fs::{MetadataExt as _, chown};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-owner",
    group: Group::Files,
    tries: "Give a file that no rule allows to somebody else",
    who: Who::Root,
    compat: Compat::Open("Landlock does not restrict changes of attributes"),
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    chown(&scene.secret, Some(1), Some(1)).step("chown")?;
    verify(scene.secret.metadata()?.uid() == 1, "changing the owner")
}
