//! Attackers have a terminal, as agents have that somebody starts by hand.

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use agentguard_tests::Site;
use agentguard_tests::process::{Capture, Finished, Owned};

/// Runs a command to its end in a session and on a terminal of its own, which is its standard input.
pub(crate) fn finish(site: &Site, command: &mut Command) -> Finished {
    let capture = Capture::new(&site.path("output"), command);
    let (_somebody, terminal) = open();
    command.stdin(terminal);
    // SAFETY: only makes system calls, which take integers.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let status = Owned::spawn(command).wait();
    Finished::new(status, &capture)
}

/// The two ends of a new terminal, both closed on exec.
fn open() -> (OwnedFd, OwnedFd) {
    let (mut person, mut program) = (-1, -1);
    let (name, settings, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: both numbers live across the call, and nothing else is asked for.
    let opened = unsafe { libc::openpty(&raw mut person, &raw mut program, name, settings, size) };
    assert_eq!(opened, 0, "a terminal: {}", std::io::Error::last_os_error());
    [person, program]
        .map(|fd| {
            // SAFETY: takes integers; a fresh fd that nothing else owns.
            unsafe {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
                OwnedFd::from_raw_fd(fd)
            }
        })
        .into()
}
