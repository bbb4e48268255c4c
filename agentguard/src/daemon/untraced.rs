//! Tasks that the kernel forgot to count.
//!
//! Forks and exits are counted at tracepoints, and newer kernels skip a tracepoint program now and then
//! (`kernel/misses.rs`). At level `lsm` identity does not depend on it, but an invocation whose last exit was skipped would
//! never end, and one of whose forks one was skipped would end early. So while invocations live, the number of skipped
//! programs is looked at, and when it grew the live tasks are counted themselves, until the numbers agree.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agentguard_common::invocation::Tag;
use anyhow::Result;

use super::Daemon;
use crate::kernel::census::{self, Tagged, flags};
use crate::kernel::{Kernel, Level};

/// Time between two looks, while there are invocations.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between the two countings of one look, in which whatever was under way arrives.
const SETTLE: Duration = Duration::from_millis(100);

/// What was found when last looked.
#[derive(Default)]
pub(super) struct Looks {
    running: AtomicBool,
    /// Skipped programs.
    misses: AtomicU64,
    /// A number of tasks did not agree with the census.
    unsettled: AtomicBool,
}

/// The tasks of one invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// By the kernel's count.
    counted: u64,
    /// By the census, without those that the kernel does not count.
    live: BTreeSet<u32>,
    /// Some are between life and death, where the count may be before or after them.
    exiting: bool,
}

/// What two tallies in a row say of the kernel's count.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Agrees,
    /// Things are moving.
    Unclear,
    /// So much must be added.
    Off(i64),
}

impl Tally {
    fn add(&mut self, task: &Tagged) {
        if task.is(flags::EXITING) {
            self.exiting = true;
        } else if !task.is(flags::WORKER) {
            self.live.insert(task.tid);
        }
    }

    fn finding(&self, later: &Self) -> Finding {
        let live = later.live.len() as u64;
        if later.exiting {
            return Finding::Unclear;
        }
        if later.counted == live {
            return Finding::Agrees;
        }
        if self != later {
            return Finding::Unclear;
        }
        Finding::Off(live.wrapping_sub(later.counted).cast_signed())
    }
}

impl Daemon {
    /// Looks again and again as long as there are invocations. Call it when there is a new one.
    pub(super) fn look_after_counts(self: &Arc<Self>) {
        if self.looks.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let daemon = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let looker = daemon.clone();
                let _ = tokio::task::spawn_blocking(move || looker.look()).await; // a panic ends the process
                let needed = || daemon.registry().busy() || daemon.keeps();
                if needed() {
                    continue;
                }
                daemon.looks.running.store(false, Ordering::SeqCst);
                // One that came in between saw that this was running.
                if !needed() || daemon.looks.running.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }

    /// Whether tasks of `tag` live that are not counted. Asks nobody on a kernel that has skipped nothing.
    pub(super) fn lives_uncounted(&self, kernel: &mut Kernel, tag: Tag) -> bool {
        if kernel.tracepoint_misses().is_ok_and(|misses| misses == 0) {
            return false;
        }
        let live = match kernel.census() {
            Ok(all) => all.iter().any(|t| t.tag == tag && !t.is(flags::EXITING) && !t.is(flags::WORKER)),
            Err(e) => {
                tracing::error!("whether an invocation has ended: {e:#}");
                true
            }
        };
        if live {
            self.recount();
        }
        live
    }

    /// Has all counts looked at next time.
    pub(super) fn recount(&self) {
        self.looks.unsettled.store(true, Ordering::SeqCst);
    }

    fn look(&self) {
        self.gather_moved();
        self.keep_rest();
        if let Err(e) = self.correct_counts() {
            tracing::error!("counting the tasks of invocations: {e:#}");
        }
    }

    /// Corrects the counts that are off, and ends the invocations of which nothing is left.
    fn correct_counts(&self) -> Result<()> {
        if !census::sees_every_process() {
            return Ok(());
        }
        // Level compat is not in force where tracepoints are skipped.
        let misses = if self.level == Level::Lsm { self.kernel().tracepoint_misses()? } else { 0 };
        let grew = self.looks.misses.swap(misses, Ordering::SeqCst) != misses;
        if grew {
            self.gather(); // a fork into a cgroup may be among them
        }
        if !self.looks.unsettled.swap(false, Ordering::SeqCst) && !grew {
            return Ok(());
        }
        let first = self.tallies()?;
        std::thread::sleep(SETTLE);
        let mut unsettled = false;
        for (tag, later) in self.tallies()? {
            // One that is new has nothing to be compared with yet.
            match first.get(&tag).map_or(Finding::Unclear, |first| first.finding(&later)) {
                Finding::Agrees => {}
                Finding::Unclear => unsettled = true,
                // There only the count of one that nobody has can be off.
                Finding::Off(_) if self.level == Level::Compat && !later.live.is_empty() => {}
                Finding::Off(difference) => {
                    unsettled = true; // look once more whether it was right
                    self.correct(tag, difference);
                }
            }
        }
        self.looks.unsettled.fetch_or(unsettled, Ordering::SeqCst);
        Ok(())
    }

    fn correct(&self, tag: Tag, difference: i64) {
        self.kernel().correct_tasks(tag, difference);
        if let Some(invocation) = self.registry().get_mut(tag) {
            invocation.untraced += difference.unsigned_abs();
        }
        self.end_if_over(tag, crate::clock::boot_ns());
    }

    /// The tasks of all invocations that have not ended.
    fn tallies(&self) -> Result<HashMap<Tag, Tally>> {
        let mut kernel = self.kernel();
        let tags: Vec<Tag> = self.registry().live().map(|i| i.tag).collect();
        let mut tallies: HashMap<_, _> = tags.into_iter().map(|tag| (tag, Tally::default())).collect();
        for task in kernel.census()? {
            if let Some(tally) = tallies.get_mut(&task.tag) {
                tally.add(&task);
            }
        }
        for (tag, tally) in &mut tallies {
            tally.counted = kernel.invocation(tag.slot).tasks;
        }
        Ok(tallies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(counted: u64, live: &[u32]) -> Tally {
        Tally { counted, live: live.iter().copied().collect(), exiting: false }
    }

    #[test]
    fn a_count_is_off_only_when_nothing_moves() {
        let still = tally(3, &[7, 8]);
        assert_eq!(still.finding(&still), Finding::Off(-1));
        assert_eq!(tally(1, &[]).finding(&tally(1, &[])), Finding::Off(-1));
        assert_eq!(tally(u64::MAX, &[]).finding(&tally(u64::MAX, &[])), Finding::Off(1));
        assert_eq!(tally(1, &[7, 8]).finding(&tally(1, &[7, 8])), Finding::Off(1));
        assert_eq!(tally(3, &[7, 9]).finding(&still), Finding::Unclear);
        assert_eq!(tally(4, &[7, 8]).finding(&still), Finding::Unclear);
        let ending = Tally { exiting: true, ..still.clone() };
        assert_eq!(ending.finding(&ending), Finding::Unclear);
    }

    #[test]
    fn a_count_that_agrees_is_left_alone() {
        assert_eq!(tally(9, &[1]).finding(&tally(2, &[7, 8])), Finding::Agrees);
    }

    #[test]
    fn workers_are_not_counted() {
        let mut tally = Tally::default();
        let task = |tid, flags| Tagged { tid, flags, ..Tagged::default() };
        [task(1, 0), task(2, flags::WORKER), task(3, flags::STOPPED)].iter().for_each(|t| tally.add(t));
        assert_eq!(tally.live, [1, 3].into());
        tally.add(&task(4, flags::EXITING));
        assert!(tally.exiting && tally.live.len() == 2);
    }
}
