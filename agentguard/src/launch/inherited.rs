//! Open files the agent must not inherit.

use std::io;

/// Marks every file descriptor above 2 close-on-exec.
///
/// Closing them at once would take away descriptors that the launcher itself still needs before exec.
///
/// # Errors
///
/// If the kernel refuses; then nothing may be executed.
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: takes three integers and touches no memory of ours.
    let rc = unsafe {
        libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::in_child;

    #[test]
    fn descriptors_above_two_become_close_on_exec() {
        in_child(|| {
            // SAFETY: duplicates standard output; no memory involved.
            let fd = unsafe { libc::fcntl(1, libc::F_DUPFD, 100) };
            let flags = |fd| {
                // SAFETY: reads the descriptor's flags.
                unsafe { libc::fcntl(fd, libc::F_GETFD) }
            };
            let before = flags(fd);
            let standard = flags(1);
            close_inherited().is_ok() && before == 0 && flags(fd) == libc::FD_CLOEXEC && flags(1) == standard
        });
    }
}
