use std::ffi::CStr;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "load-library",
    group: Group::Exec,
    tries: "Load a library from the workspace",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict mapping a readable file executable"),
    recorded: Recorded::As(&["map-exec", "exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let library = scene.own("library.so");
    std::fs::copy("/usr/lib/x86_64-linux-gnu/libm.so.6", &library).step("copying")?;
    let library = sys::c(&library);
    // SAFETY: the library is the system's own, which may be loaded twice; the message lives until the next call.
    unsafe {
        if libc::dlopen(library.as_ptr(), libc::RTLD_NOW).is_null() {
            let why = CStr::from_ptr(libc::dlerror()).to_string_lossy();
            sys::program::told_refusal(&why, "loading")?;
            return verify(false, "loading");
        }
    }
    Ok(())
}
