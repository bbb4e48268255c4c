//! Child processes with a deadline, killed when the test ends.

use std::fs::File;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::level::deadline;
use crate::tail;

/// A child that is killed and reaped when it is dropped.
#[derive(Debug)]
pub struct Owned(Child);

impl Owned {
    /// Starts `command`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|e| {
            let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
            let files = std::fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
            panic!("starting {command:?}: {e}; {open} descriptors of this test, files of the system: {files}")
        }))
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: i32) {
        let pid = self.0.id().cast_signed();
        // SAFETY: takes integers; the child is not reaped yet, so its id is its own.
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0, "kill({pid}, {signal}): {}", std::io::Error::last_os_error());
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// After the deadline.
    pub fn wait(&mut self) -> ExitStatus {
        let timeout = PollTimeout::try_from(deadline()).unwrap_or(PollTimeout::MAX);
        let pidfd = pidfd(self.0.id()).expect("pidfd of a child that is not reaped");
        let ended = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
        assert_eq!(ended, Ok(1), "process {} still runs after {:?}", self.0.id(), deadline());
        self.0.wait().expect("waitpid")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

fn pidfd(pid: u32) -> std::io::Result<OwnedFd> {
    // SAFETY: a system call without memory arguments.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a fresh fd that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).expect("a file descriptor")) })
}

/// Where a process writes: files, so that a descendant that keeps them open holds nobody up.
#[derive(Clone, Debug)]
pub struct Capture {
    pub stdout: PathBuf,
    pub stderr: PathBuf,
}

impl Capture {
    /// Redirects `command` into new files in `dir`.
    pub fn new(dir: &Path, command: &mut Command) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let capture =
            Self { stdout: dir.join(format!("{n}.stdout")), stderr: dir.join(format!("{n}.stderr")) };
        command.stdin(Stdio::null());
        command.stdout(File::create(&capture.stdout).expect("capture of standard output"));
        command.stderr(File::create(&capture.stderr).expect("capture of standard error"));
        capture
    }

    fn text(path: &Path) -> String {
        String::from_utf8_lossy(&std::fs::read(path).expect("captured output")).into_owned()
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Runs `command` to its end.
    pub fn of(dir: &Path, command: &mut Command) -> Self {
        let capture = Capture::new(dir, command);
        let status = Owned::spawn(command).wait();
        Self { status, stdout: Capture::text(&capture.stdout), stderr: Capture::text(&capture.stderr) }
    }

    /// Takes what `capture` has for a process that ended with `status`.
    #[must_use]
    pub fn new(status: ExitStatus, capture: &Capture) -> Self {
        Self { status, stdout: Capture::text(&capture.stdout), stderr: Capture::text(&capture.stderr) }
    }

    /// Checks that it ended well.
    ///
    /// # Panics
    /// With its output, if it did not.
    #[track_caller]
    #[must_use]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "ended with {}\n{self}", self.status);
        self
    }

    /// Checks that it failed by itself (no signal).
    ///
    /// # Panics
    /// With its output, if it did not.
    #[track_caller]
    #[must_use]
    pub fn failure(self) -> Self {
        assert!(self.status.signal().is_none() && !self.status.success(), "{}\n{self}", self.status);
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--- standard output\n{}--- standard error\n{}", self.stdout, self.stderr)
    }
}

/// Waits until a line of `file` is `line`.
pub fn await_line(file: &Path, line: &str) {
    tail::until(file, &format!("line {line:?}"), |text| text.lines().any(|l| l == line).then_some(()));
}
