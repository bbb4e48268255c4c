//! The census: which tagged tasks live, as the kernel's task iterator sees them.

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use agentguard_common::census::TAGGED_BYTES;
pub use agentguard_common::census::{Tagged, flags};
use agentguard_common::invocation::{self, Tag};
use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::Iter;
use zerocopy::FromBytes as _;

use super::Kernel;

/// Bytes of one read: what the kernel collects for it at most.
const READ_BYTES: usize = 8 * 4096;

/// Inode number of the first PID namespace (`PROC_PID_INIT_INO` of `linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Whether a census finds every task: the kernel lists those of the caller's PID namespace.
#[must_use]
pub fn sees_every_process() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == INITIAL_PID_NAMESPACE)
}

impl Kernel {
    /// All tagged tasks of this daemon's PID namespace that are not dead, threads one by one.
    ///
    /// A task that is made while the census is taken may be missing; whoever must have all of them takes another.
    ///
    /// # Errors
    /// When the kernel does not let the iterator be read to its end.
    pub fn census(&mut self) -> Result<Vec<Tagged>> {
        let program: &mut Iter = self.ebpf.program_mut("census").context("missing program")?.try_into()?;
        let link = program.attach().context("census")?;
        let mut file = program.take_link(link)?.into_file().context("census")?;
        read(&mut file).context("reading the census")
    }

    /// Adds `difference` to the number of tasks of an invocation, beside what the kernel adds.
    pub(crate) fn correct_tasks(&self, tag: Tag, difference: i64) {
        let entry = self.invocations.at(tag.slot as usize);
        // SAFETY: a field of a live mapping, aligned for u64, which the kernel changes by atomic instructions only.
        let tasks = unsafe { AtomicU64::from_ptr(&raw mut (*entry).tasks) };
        tasks.fetch_add(difference.cast_unsigned(), Ordering::SeqCst);
    }

    /// Says whether the program that kills barred tasks leaves those of a slot alone.
    pub(crate) fn set_frozen(&self, slot: u32, frozen: bool) {
        let entry = self.invocations.at(slot as usize);
        // SAFETY: a field of a live mapping, aligned for u32, which the kernel only reads.
        let word = unsafe { AtomicU32::from_ptr(&raw mut (*entry).flags) };
        if frozen {
            word.fetch_or(invocation::flags::FROZEN, Ordering::SeqCst);
        } else {
            word.fetch_and(!invocation::flags::FROZEN, Ordering::SeqCst);
        }
    }
}

/// Reads records to the end of the file. The kernel gives as much as it has collected, and sometimes nothing yet.
fn read(file: &mut impl Read) -> Result<Vec<Tagged>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return records(&bytes),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            // Interrupted, or a million tasks without a tag: the next read goes on from there.
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn records(bytes: &[u8]) -> Result<Vec<Tagged>> {
    let chunks = bytes.chunks_exact(TAGGED_BYTES);
    ensure!(chunks.remainder().is_empty(), "{} bytes are not a whole number of records", bytes.len());
    let mut all = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let Ok(record) = Tagged::read_from_bytes(chunk) else { bail!("undecodable record") };
        all.push(record);
    }
    Ok(all)
}

/// The tasks among `all` that run code of their program: neither stopped, nor held up in the kernel by a child that is
/// stopped and shares their memory.
#[must_use]
pub fn running(all: &[Tagged]) -> Vec<Tagged> {
    let mut held: Vec<u32> = all.iter().filter(|t| t.is(flags::STOPPED)).map(|t| t.tid).collect();
    loop {
        let waits_for_held = |t: &&Tagged| {
            let child = |c: &Tagged| c.is(flags::VFORKED) && c.parent_tid == t.tid && held.contains(&c.tid);
            !held.contains(&t.tid) && all.iter().any(child)
        };
        let more: Vec<u32> = all.iter().filter(waits_for_held).map(|t| t.tid).collect();
        if more.is_empty() {
            return all.iter().filter(|t| !held.contains(&t.tid)).copied().collect();
        }
        held.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use zerocopy::IntoBytes as _;

    use super::*;

    const TAG: Tag = Tag { slot: 3, generation: 9 };

    fn task(tid: u32, parent_tid: u32, flags: u32) -> Tagged {
        Tagged { tag: TAG, tid, tgid: tid, parent_tid, flags }
    }

    /// Gives a few bytes at each read, and an error before each.
    struct Slow(Vec<u8>, bool);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let n = self.0.len().min(7).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    #[test]
    fn short_reads_are_put_together() {
        let all = [task(1, 0, 0), task(2, 1, flags::STOPPED), task(70_000, 2, flags::WORKER)];
        let bytes: Vec<u8> = all.iter().flat_map(|t| t.as_bytes().to_vec()).collect();
        assert_eq!(read(&mut Slow(bytes.clone(), false)).expect("reads"), all);
        assert!(read(&mut Slow(bytes[..30].to_vec(), false)).is_err());
    }

    #[test]
    fn what_waits_for_a_stopped_child_does_not_run() {
        let vforked = flags::VFORKED;
        let chain = [task(1, 0, 0), task(2, 1, vforked), task(3, 2, vforked | flags::STOPPED)];
        assert_eq!(running(&chain), []);
        // One that only made a stopped child goes on.
        let forked = [task(1, 0, 0), task(2, 1, flags::STOPPED)];
        assert_eq!(running(&forked), [forked[0]]);
        // The child runs still.
        let early = [task(1, 0, 0), task(2, 1, vforked)];
        assert_eq!(running(&early), early);
    }
}
