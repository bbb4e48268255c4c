//! Programs that attacks start.

use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use nix::errno::Errno;

use crate::{Scene, Step as _, Stop, verify};

/// Finds the refusal that a program tells its user of.
///
/// # Errors
/// The refusal.
pub fn told_refusal(text: &str, step: &'static str) -> Result<(), Stop> {
    let told = |errno: &Errno| text.contains(errno.desc());
    // What the dynamic loader says without a reason.
    let unmapped = text.contains("failed to map segment").then_some(Errno::EACCES);
    let refused = [Errno::EACCES, Errno::EPERM].into_iter().find(told).or(unmapped);
    refused.map_or(Ok(()), |errno| Err(Stop::Refused { step, errno: errno as i32 }))
}

/// What a program prints.
///
/// # Errors
/// When it does not start, or says that it was refused something.
pub fn output(command: &mut Command) -> Result<String, Stop> {
    let output = command.output().step("starting")?;
    told_refusal(&String::from_utf8_lossy(&output.stderr), "running")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a copy of id(1).
///
/// # Errors
/// When it does not run.
pub fn prints_identity(command: &mut Command) -> Result<(), Stop> {
    verify(output(command)?.starts_with("uid="), "running it")
}

/// A copy of id(1) in the workspace.
///
/// # Errors
/// When it can't be made.
pub fn copy_of_id(scene: &Scene, name: &str) -> Result<PathBuf, Stop> {
    let path = scene.own(name);
    std::fs::copy("/usr/bin/id", &path).step("copying")?;
    Ok(path)
}

/// Executes the copy of id(1) that `fd` is open on, without a path.
///
/// # Errors
/// When it does not run.
pub fn descriptor_runs(fd: impl AsFd) -> Result<(), Stop> {
    let fd = fd.as_fd().as_raw_fd();
    let mut command = Command::new("/usr/bin/false"); // not reached
    // SAFETY: only makes a system call, on arguments that live across it.
    unsafe {
        command.pre_exec(move || {
            let argv = [c"id".as_ptr(), std::ptr::null()];
            let empty = c"".as_ptr();
            libc::syscall(
                libc::SYS_execveat,
                fd,
                empty,
                argv.as_ptr(),
                argv[1..].as_ptr(),
                libc::AT_EMPTY_PATH,
            );
            Err(std::io::Error::last_os_error())
        });
    }
    prints_identity(&mut command)
}

/// A memory file with id(1) in it.
///
/// # Errors
/// When it can't be made.
pub fn memory_file() -> Result<std::fs::File, Stop> {
    let program = std::fs::read("/usr/bin/id").step("reading")?;
    super::memory::file(&program)
}
