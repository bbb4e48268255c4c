use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "exec-from-thread",
    group: Group::Exec,
    tries: "Execute a program that no rule allows from a thread",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["exec"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let program = sys::c(&scene.program);
    let mut command = Command::new("/usr/bin/false"); // not reached
    let exec = move || {
        let argv = [program.as_ptr(), std::ptr::null()];
        // SAFETY: the arguments are a path and a list of one, which live across the call.
        unsafe { libc::execv(program.as_ptr(), argv.as_ptr()) };
        std::io::Error::last_os_error()
    };
    // SAFETY: the attack has one thread, so its child may do anything.
    unsafe {
        command.pre_exec(move || std::thread::scope(|s| Err(s.spawn(&exec).join().expect("no panic"))))
    };
    sys::program::prints_identity(&mut command)
}
