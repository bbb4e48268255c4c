//! Ending the processes of barred invocations.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use agentguard_common::invocation::Tag;
use anyhow::{Result, bail};

use super::Daemon;
use crate::kernel::pidfd_open;

/// How long a kill may take before it is reported as failed.
const DEADLINE: Duration = Duration::from_secs(10);

/// Processes that are not zombies.
fn alive() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(|pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !matches!(stat.rsplit(')').next().and_then(|s| s.trim_start().chars().next()), Some('Z' | 'X') | None)
    })
}

impl Daemon {
    /// Kills every process that carries one of `tags`, also ones being forked meanwhile. Returns how many signals
    /// were sent.
    ///
    /// # Errors
    /// When processes are left after the deadline.
    pub(super) fn kill(&self, tags: &[Tag]) -> Result<usize> {
        let start = Instant::now();
        self.kernel().arm_kill(true)?;
        let mut killed = 0;
        let result = loop {
            let mut found = 0;
            for pid in alive() {
                let Ok(pidfd) = pidfd_open(pid) else { continue };
                let tag = self.kernel().tag_of(pidfd.as_fd());
                if tag.is_some_and(|t| tags.contains(&t)) {
                    found += 1;
                    // SAFETY: a system call with an fd and no memory arguments.
                    let sent = unsafe {
                        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, 0, 0)
                    };
                    killed += usize::from(sent == 0);
                }
            }
            if found == 0 {
                break Ok(killed);
            }
            if start.elapsed() > DEADLINE {
                break Err(found);
            }
        };
        self.kernel().arm_kill(false)?;
        match result {
            Ok(killed) => Ok(killed),
            Err(left) => bail!("{left} processes are still there after {DEADLINE:?}"),
        }
    }
}
