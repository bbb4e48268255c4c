//! Ending the processes of barred invocations.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::time::{Duration, Instant};

use agentguard_common::invocation::Tag;
use anyhow::{Result, bail};

use super::Daemon;
use crate::kernel::pidfd_open;

/// How long a kill may take before it is reported as failed.
const DEADLINE: Duration = Duration::from_secs(10);

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// Whether any thread still runs: the first one may be a zombie long before the others end.
fn lives(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.map(|task| task_state(&task.path())).any(|state| !matches!(state, Some('Z' | 'X') | None))
}

/// The state letter of a thread (`proc_pid_stat(5)`); its name before it may contain anything.
fn task_state(task: &Path) -> Option<char> {
    let stat = std::fs::read(task.join("stat")).ok()?;
    String::from_utf8_lossy(&stat).rsplit(')').next()?.trim_start().chars().next()
}

impl Daemon {
    /// Kills every process that carries one of `tags`, also ones being forked meanwhile. Returns how many
    /// there were.
    ///
    /// # Errors
    /// When processes are left after the deadline.
    pub(super) fn kill(&self, tags: &[Tag]) -> Result<usize> {
        let start = Instant::now();
        self.kernel().arm_kill(true)?;
        let mut killed = HashSet::new();
        let result = loop {
            let mut found = 0;
            for pid in processes() {
                let Ok(pidfd) = pidfd_open(pid) else { continue };
                let tag = self.kernel().tag_of(pidfd.as_fd());
                if tag.is_some_and(|t| tags.contains(&t)) && lives(pid) {
                    found += 1;
                    // SAFETY: a system call with an fd and no memory arguments.
                    let sent = unsafe {
                        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, 0, 0)
                    };
                    if sent == 0 {
                        killed.insert(pid);
                    }
                }
            }
            if found == 0 {
                break Ok(killed.len());
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
