//! System calls that were waiting when their invocation was barred.
//!
//! A read that waits was let through before: the first data that comes would still reach it. So every thread is stopped
//! for a moment, as a debugger would (nobody is signalled, no parent told). That takes it out of the system call, and as
//! it starts the call again it is asked again, and refused. A thread that begins a call later is refused as it begins.

use std::time::{Duration, Instant};

use agentguard_common::invocation::Tag;
use anyhow::Result;

use super::Kernel;
use super::census::{Tagged, flags};

/// How long a thread may take to stop. One that does not sleep where nothing wakes it.
const PATIENCE: Duration = Duration::from_secs(1);
const PTRACE_EVENT_STOP: i32 = 128;

impl Kernel {
    /// The threads that carry one of `tags`.
    ///
    /// # Errors
    /// When the census can't be taken.
    pub fn threads_of(&mut self, tags: &[Tag]) -> Result<Vec<i32>> {
        let live = |task: &Tagged| tags.contains(&task.tag) && !task.is(flags::EXITING);
        Ok(self.census()?.into_iter().filter(live).map(|task| task.tid.cast_signed()).collect())
    }
}

/// A thread to trace.
#[derive(PartialEq)]
enum Seized {
    Yes,
    Gone,
    /// Another process traces it.
    No,
}

/// Takes `threads` out of the system calls that they wait in. Returns how many could not be: another process traces them, or
/// nothing wakes them.
#[must_use]
pub fn interrupt(threads: Vec<i32>) -> usize {
    // On a thread of its own, which traces: what it could not let go of is let go when it ends.
    let all = threads.len();
    let tracer = std::thread::Builder::new().name("interrupt".into()).spawn(move || trace(threads));
    tracer.map_or(all, |tracer| tracer.join().unwrap_or(all))
}

fn trace(threads: Vec<i32>) -> usize {
    let mut missed = 0;
    let mut left = threads;
    left.retain(|tid| {
        let seized = seize(*tid);
        missed += usize::from(seized == Seized::No);
        seized == Seized::Yes && request(libc::PTRACE_INTERRUPT, *tid, 0)
    });
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() && Instant::now() < deadline {
        left.retain(|tid| !let_go(*tid));
        std::thread::sleep(Duration::from_micros(100)); // they stop within a few microseconds each
    }
    missed + left.len()
}

/// Begins to trace a thread without stopping it.
fn seize(tid: i32) -> Seized {
    if request(libc::PTRACE_SEIZE, tid, 0) {
        return Seized::Yes;
    }
    let gone = std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    if gone { Seized::Gone } else { Seized::No }
}

/// Lets a thread go if it has stopped, or ended. False when it has not yet.
fn let_go(tid: i32) -> bool {
    let mut status = 0;
    // SAFETY: `status` lives across the call.
    let found = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
    if found == 0 {
        return false;
    }
    if found == tid && libc::WIFSTOPPED(status) {
        // What stopped it may be a signal on its way, which it is to get.
        let signal = if status >> 16 == PTRACE_EVENT_STOP { 0 } else { libc::WSTOPSIG(status) };
        request(libc::PTRACE_DETACH, tid, signal);
    }
    true
}

fn request(request: libc::c_uint, tid: i32, data: i32) -> bool {
    // SAFETY: these requests take no addresses.
    unsafe { libc::ptrace(request, tid, 0, i64::from(data)) == 0 }
}
