//! What several attacks need of the system and no library offers.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

use crate::{Step as _, Stop};

pub mod attributes;
pub mod bpf;
pub mod control;
pub mod entry32;
pub mod files;
pub mod lineage;
pub mod memory;
pub mod net;
pub mod netlink;
pub mod other;
pub mod program;
pub mod uring;

/// A path as the kernel wants it.
///
/// # Panics
/// If it holds a null byte.
#[must_use]
pub fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no null byte in a path")
}

/// What a system call returned, or its error.
///
/// # Errors
/// `ENOSYS` is [`Stop::Absent`].
pub fn result(raw: i64) -> Result<i64, Stop> {
    if raw >= 0 {
        return Ok(raw);
    }
    match Errno::last() {
        Errno::ENOSYS => Err(Stop::absent("the system call")),
        errno => Err(errno.into()),
    }
}

/// Makes a system call by number.
///
/// # Errors
/// See [`result`].
///
/// # Safety
/// As the call demands of its arguments.
pub unsafe fn call(number: i64, arguments: [usize; 6]) -> Result<i64, Stop> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller's promise.
    result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// Takes `errno` for success: the kernel refuses before it gets as far as this error.
///
/// # Errors
/// Every other error.
pub fn past(result: Result<i64, Stop>, errno: Errno) -> Result<(), Stop> {
    match result {
        Err(Stop::Refused { errno: e, .. }) if e == errno as i32 => Ok(()),
        other => other.map(drop),
    }
}

/// Takes `errno` for the absence of `what`.
///
/// # Errors
/// Every error.
pub fn absent_if<T, E: Into<Stop>>(result: Result<T, E>, errno: Errno, what: &str) -> Result<T, Stop> {
    result.map_err(|e| match e.into() {
        Stop::Refused { errno: e, .. } if e == errno as i32 => Stop::absent(what),
        other => other,
    })
}

/// Takes the error number `errno`, by which the kernel tells of a refusal too, for `meant`.
///
/// # Errors
/// Every error.
pub fn said<T>(result: Result<T, Stop>, errno: Errno, meant: Errno) -> Result<T, Stop> {
    result.map_err(|e| match e {
        Stop::Refused { step, errno: e } if e == errno as i32 => Stop::Refused { step, errno: meant as i32 },
        other => other,
    })
}

/// What came of some work, as one line.
fn told(result: Result<(), Stop>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(Stop::Refused { step, errno }) => format!("refused {errno} {step}"),
        Err(Stop::Absent(why)) => format!("absent {why}"),
    }
}

/// What came of some work, from its line. Who says nothing has crashed, which no refusal is.
fn heard(line: &str) -> Result<(), Stop> {
    if line == "ok" {
        return Ok(());
    }
    if let Some(why) = line.strip_prefix("absent ") {
        return Err(Stop::absent(why));
    }
    let rest = line.strip_prefix("refused ").unwrap_or("0 crashed");
    let (errno, step) = rest.split_once(' ').unwrap_or((rest, ""));
    Err(Stop::Refused { step: step.to_owned().leak(), errno: errno.parse().unwrap_or(0) })
}

/// Runs `work` in a child process and hands over what it came to. For what must not happen to the attack itself.
///
/// # Errors
/// Those of `work`; a child that was killed was refused with `EPERM`.
pub fn in_child(work: impl FnOnce() -> Result<(), Stop>) -> Result<(), Stop> {
    use std::io::{Read as _, Write as _};
    let (mut reader, mut writer) = std::io::pipe()?;
    // SAFETY: the attack has one thread, so its child may do anything.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(Errno::last().into());
    }
    if pid == 0 {
        drop(reader);
        let _ = writer.write_all(told(work()).as_bytes());
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut line = String::new();
    reader.read_to_string(&mut line)?;
    let mut status = 0;
    // SAFETY: reaps the child forked above; the status lives across the call.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    if line.is_empty() && libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL {
        return Err(Errno::EPERM).step("killed");
    }
    heard(&line)
}
