use std::ffi::CStr;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys::attributes, verify};

const NAME: &CStr = c"security.capability";

pub(crate) const ATTACK: Attack = Attack {
    name: "file-capability",
    group: Group::Files,
    tries: "Give capabilities to a program that no rule allows",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    // Version 2 with its effective bit; then permitted and inheritable: CAP_CHOWN.
    let capability: Vec<u8> =
        [0x0200_0001_u32, 1, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    attributes::set(&scene.program, NAME, &capability).step("setxattr")?;
    verify(attributes::get(&scene.program, NAME)? == capability, "setting it")
}
