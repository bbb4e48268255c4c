//! Processes that are no plain children.

use std::io::{Read as _, Write as _};

use nix::sched::{CloneFlags, clone};
use nix::unistd::{ForkResult, Pid, fork, getppid, setsid};

use super::{heard, told};
use crate::{Step as _, Stop};

/// Runs `work` in a daemon: forked twice, in its own session, after its parent has ended.
///
/// # Errors
/// Those of `work`.
pub fn in_daemon(work: impl FnOnce() -> Result<(), Stop>) -> Result<(), Stop> {
    let (mut reader, mut writer) = std::io::pipe()?;
    // SAFETY: the attack has one thread, so its children may do anything.
    match unsafe { fork() }.step("forking")? {
        ForkResult::Parent { child } => {
            drop(writer);
            nix::sys::wait::waitpid(child, None).step("waiting")?;
            let mut line = String::new();
            reader.read_to_string(&mut line)?;
            heard(&line)
        }
        ForkResult::Child => {
            let parent = setsid().unwrap_or(Pid::from_raw(0));
            // SAFETY: as above.
            let orphan = matches!(unsafe { fork() }, Ok(ForkResult::Child));
            while orphan && getppid() == parent {
                std::thread::yield_now(); // nothing tells of a new parent
            }
            if orphan {
                let _ = writer.write_all(told(work()).as_bytes());
            }
            // SAFETY: ends this process without running the attack's destructors.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Runs `work` in a child made with `flags`, and waits until it has told.
///
/// # Errors
/// Those of `work`.
pub fn in_clone(flags: CloneFlags, work: impl Fn() -> Result<(), Stop>) -> Result<(), Stop> {
    let (mut reader, writer) = std::io::pipe()?;
    let mut stack = vec![0_u8; 256 << 10];
    let child = Box::new(|| {
        let told = told(work());
        let _ = (&writer).write_all(told.as_bytes());
        0
    });
    // SAFETY: a stack of its own, which outlives the child: it is done with it when it has ended or told.
    let pid = unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }.step("cloning")?;
    let _ = nix::sys::wait::waitpid(pid, None); // who has another parent is not waited for
    drop(writer);
    let mut line = String::new();
    reader.read_to_string(&mut line)?;
    heard(&line)
}
