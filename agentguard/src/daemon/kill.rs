//! Ending or stopping the processes of barred invocations.

use std::collections::{BTreeSet, HashSet};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use agentguard_common::invocation::Tag;
use anyhow::{Result, ensure};

use super::Daemon;
use crate::kernel::census::{self, Tagged};
use crate::kernel::pidfd_open;

/// How long either may take before it is reported as failed.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest pause between two looks. A pause lets the signalled ones run to where they notice.
const PAUSE: Duration = Duration::from_millis(2);

/// The processes that `tasks` are threads of.
fn processes(tasks: &[Tagged]) -> BTreeSet<u32> {
    tasks.iter().map(|task| task.tgid).collect()
}

impl Daemon {
    /// The live tasks of `tags`.
    pub(super) fn live(&self, tags: &HashSet<Tag>) -> Result<Vec<Tagged>> {
        let mut all = self.kernel().census()?;
        all.retain(|task| tags.contains(&task.tag));
        Ok(all)
    }

    /// Kills every process that carries one of `tags`, also ones being forked meanwhile. Returns how many
    /// there were.
    ///
    /// # Errors
    /// When processes are left after the deadline.
    pub(super) fn kill(&self, tags: &[Tag]) -> Result<usize> {
        self.arm_kill(1)?;
        let killed = self.pursue(tags, libc::SIGKILL, processes);
        self.arm_kill(-1)?;
        let (killed, left) = killed?;
        ensure!(left.is_empty(), "{} processes are still there after {DEADLINE:?}", left.len());
        Ok(killed.len())
    }

    /// One that kills comes (1) or goes (-1): the program that helps is attached while there are any.
    fn arm_kill(&self, change: isize) -> Result<()> {
        let mut kernel = self.kernel();
        let mut killers = super::lock(&self.killers);
        let now = killers.saturating_add_signed(change);
        let armed = kernel.arm_kill(now > 0);
        if armed.is_ok() || change < 0 {
            *killers = now;
        }
        armed
    }

    /// Stops every process that carries one of `tags`, also ones being forked meanwhile. Returns how many there are.
    ///
    /// # Errors
    /// When some still run after the deadline.
    pub(super) fn freeze(&self, tags: &[Tag]) -> Result<usize> {
        let (_, left) = self.pursue(tags, libc::SIGSTOP, |live| processes(&census::running(live)))?;
        ensure!(left.is_empty(), "{} processes still run after {DEADLINE:?}", left.len());
        Ok(processes(&self.live(&tags.iter().copied().collect())?).len())
    }

    /// Sends `signal` to the processes that `due` names among the live tasks of `tags`, until it names none. Returns those
    /// that got it, and those that were due to the last.
    ///
    /// None are left when two looks in a row say so: a look goes through the process ids from below, and one that is made
    /// behind it while its parent, which is still ahead, ends would be seen by neither.
    fn pursue(
        &self,
        tags: &[Tag],
        signal: i32,
        due: impl Fn(&[Tagged]) -> BTreeSet<u32>,
    ) -> Result<(BTreeSet<u32>, BTreeSet<u32>)> {
        let tags: &HashSet<Tag> = &tags.iter().copied().collect();
        let give_up = Instant::now() + DEADLINE;
        let mut reached = BTreeSet::new();
        let (mut clear, mut pause) = (0, Duration::from_micros(20));
        loop {
            let left = due(&self.live(tags)?);
            clear = if left.is_empty() { clear + 1 } else { 0 };
            if clear == 2 || Instant::now() > give_up {
                return Ok((reached, left));
            }
            for pid in &left {
                if self.send(*pid, tags, signal) {
                    reached.insert(*pid);
                }
            }
            if !left.is_empty() {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE);
            }
        }
    }

    /// Signals process `pid` if it still is one of `tags`; another may have its id by now.
    fn send(&self, pid: u32, tags: &HashSet<Tag>, signal: i32) -> bool {
        let Ok(pidfd) = pidfd_open(pid) else { return false };
        if !self.kernel().tag_of(pidfd.as_fd()).is_some_and(|tag| tags.contains(&tag)) {
            return false;
        }
        // SAFETY: a system call with an fd and no memory arguments.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0, 0) == 0 }
    }
}
