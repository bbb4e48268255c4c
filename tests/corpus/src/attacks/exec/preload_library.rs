use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "preload-library",
    group: Group::Exec,
    tries: "Have an allowed program load a library from the workspace",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict mapping a readable file executable"),
    recorded: Recorded::As(&["map-exec", "exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let library = scene.own("library.so");
    std::fs::copy("/usr/lib/x86_64-linux-gnu/libm.so.6", &library).step("copying")?;
    let mut command = Command::new("/usr/bin/cat");
    let maps = sys::program::output(command.arg("/proc/self/maps").env("LD_PRELOAD", &library))?;
    let path = library.to_str().expect("UTF-8");
    verify(maps.lines().any(|l| l.ends_with(path) && l.contains("r-xp")), "loading")
}
