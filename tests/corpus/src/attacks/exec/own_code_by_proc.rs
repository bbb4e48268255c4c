use std::fs::File;
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;

use crate::sys::memory;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "own-code-by-proc",
    group: Group::Exec,
    tries: "Change own code through /proc/self/mem",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    sys::in_child(|| {
        let file = File::options().write(true).open("/proc/self/mem").step("opening own memory")?;
        let code: fn() -> i32 = std::hint::black_box(seven);
        let written = file.write_at(&memory::CODE, code as usize as u64).step("writing");
        sys::absent_if(written, Errno::EIO, "a kernel that lets /proc/PID/mem write code")?;
        verify(code() == 42, "running the code")
    })
}

/// What the attack replaces.
#[inline(never)]
fn seven() -> i32 {
    std::hint::black_box(7)
}
