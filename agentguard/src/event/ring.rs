//! Reading the rings.
//!
//! Not aya's reader: it gives an entry's room back before the next one is seen. Here a batch is recorded first and given
//! back afterwards, so a daemon that is killed in between leaves it for the next one, which knows what the log has.
//!
//! Layout and protocol: `kernel/bpf/ringbuf.c`. A page with the consumer's position, one with the producer's, the data,
//! and the data again, so that no entry is in two pieces. An entry is a word (length, busy and discard bits), a second
//! word, and the bytes, up to a multiple of 8.

use std::io::PipeReader;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentguard_common::event::{EventHeader, HEADER_BYTES};
use anyhow::{Result, bail};
use zerocopy::FromBytes as _;

const PAGE: usize = 4096;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
/// Bytes before an entry.
const PREFIX: u64 = 8;
/// Entries of each ring in a batch.
const BATCH: usize = 4096;

/// One event where it lies in its ring.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    pub header: &'a EventHeader,
    pub path: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Decodes one ring entry, without a copy; `None` when it is shorter than it says, or not aligned as rings are, to 8 bytes.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = EventHeader::ref_from_prefix(bytes).ok()?;
        let path = rest.len().checked_sub(header.path_len.into()).map(|at| &rest[at..])?; // padding comes before
        Some(Self { header, path })
    }
}

const _: () = assert!(HEADER_BYTES == size_of::<EventHeader>());

/// A ring, mapped.
pub struct Ring {
    fd: OwnedFd,
    consumer: NonNull<AtomicU64>,
    producer: NonNull<AtomicU64>,
    data: NonNull<u8>,
    bytes: u64,
}

// SAFETY: the mappings are this struct's alone, and what is shared with the kernel is read and written atomically.
unsafe impl Send for Ring {}

fn map(fd: &OwnedFd, len: usize, protection: i32, offset: usize) -> Result<NonNull<u8>> {
    // SAFETY: a fresh shared mapping; the kernel checks length and offset against the map.
    let at = unsafe {
        let null = std::ptr::null_mut();
        libc::mmap(null, len, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset as libc::off_t)
    };
    match NonNull::new(at.cast::<u8>()) {
        Some(at) if at.as_ptr().cast() != libc::MAP_FAILED => Ok(at),
        _ => bail!("mapping a ring: {}", std::io::Error::last_os_error()),
    }
}

impl Ring {
    /// Maps the ring of `bytes` bytes behind `fd`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(fd: OwnedFd, bytes: u32) -> Result<Self> {
        let consumer = map(&fd, PAGE, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        let producer = map(&fd, PAGE + 2 * bytes as usize, libc::PROT_READ, PAGE)?;
        // SAFETY: the data begins one page into a mapping that is longer.
        let data = unsafe { producer.add(PAGE) };
        Ok(Self { fd, consumer: consumer.cast(), producer: producer.cast(), data, bytes: bytes.into() })
    }

    fn position(&self) -> u64 {
        // SAFETY: a live mapping, aligned to a page.
        unsafe { self.consumer.as_ref() }.load(Ordering::Relaxed) // only this process stores it
    }

    /// Adds the entries from the consumer's position on to `batch`. Returns the position behind them.
    fn peek<'a>(&'a self, batch: &mut Vec<Raw<'a>>) -> u64 {
        let mut at = self.position();
        // SAFETY: a live mapping, aligned to a page.
        let end = unsafe { self.producer.as_ref() }.load(Ordering::Acquire);
        let full = batch.len() + BATCH;
        while at < end && batch.len() < full {
            // SAFETY: inside the data, since the position is taken modulo its length; entries are aligned to 8 bytes.
            let entry = unsafe { self.data.add((at & (self.bytes - 1)) as usize) };
            // SAFETY: the first word of an entry, which the kernel publishes last.
            let word = unsafe { entry.cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
            if word & BUSY != 0 {
                break; // still being written
            }
            let len = word & !(BUSY | DISCARDED);
            if word & DISCARDED == 0 {
                // SAFETY: the kernel wrote `len` bytes behind the prefix, contiguous because the data is mapped twice,
                // and leaves them alone until the consumer's position is past them.
                let bytes =
                    unsafe { std::slice::from_raw_parts(entry.add(PREFIX as usize).as_ptr(), len as usize) };
                match Raw::decode(bytes) {
                    Some(raw) => batch.push(raw),
                    None => tracing::error!("undecodable event of {len} bytes"),
                }
            }
            at += (u64::from(len) + PREFIX).next_multiple_of(8);
        }
        at
    }

    /// Gives the room of all entries before `position` back. Returns what share of the ring that is.
    fn commit(&self, position: u64) -> f64 {
        let taken = position - self.position();
        // SAFETY: a live mapping, aligned to a page.
        unsafe { self.consumer.as_ref() }.store(position, Ordering::Release);
        taken as f64 / self.bytes as f64
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly the mappings that `new` made.
        unsafe {
            libc::munmap(self.consumer.as_ptr().cast(), PAGE);
            libc::munmap(self.producer.as_ptr().cast(), PAGE + 2 * self.bytes as usize);
        }
    }
}

/// What takes the events.
pub trait Sink {
    /// Records a batch, in order of the kernel's clock. False when that failed: the same events come again.
    fn record(&mut self, batch: &[Raw<'_>]) -> bool;
    /// Looks after what is not about one event. Called after every batch, but seldom in a storm of them.
    fn settle(&mut self);
}

/// Takes what is in both rings by now, in batches. Returns the share of a ring that it filled, or nothing when the sink
/// could not record.
fn drain(rings: &[Ring; 2], sink: &mut impl Sink) -> Option<f64> {
    let [denials, events] = rings;
    let mut share = 0.0;
    loop {
        let mut batch = Vec::new();
        // Denials second: the one that came before a process's exit is then in the same batch as the exit.
        let events_to = events.peek(&mut batch);
        let denials_to = denials.peek(&mut batch);
        batch.sort_by_key(|raw| raw.header.time_ns);
        let count = batch.len();
        if count > 0 && !sink.record(&batch) {
            return None;
        }
        share += events.commit(events_to) + denials.commit(denials_to);
        if count < BATCH {
            return Some(share);
        }
    }
}

/// How long to wait before what could not be recorded is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// How far apart what comes without a pause is taken: a batch costs a wakeup, system calls and locks, whatever is in it.
const GATHER: Duration = Duration::from_millis(10);
/// A batch that filled more of a ring than this is followed by the next at once: room comes before cost.
const CROWDED: f64 = 1.0 / 16.0;
/// How far apart the sink settles in a storm.
const SETTLE: Duration = Duration::from_millis(100);

/// Gives the events of both rings (denials, others) to `sink`, until the other end of `stop` is closed and what was
/// there by then is recorded. Blocks; run it on a thread of its own.
///
/// An event that comes alone is taken at once; what follows it within 10 ms waits that long.
pub fn consume(rings: &[Ring; 2], stop: &PipeReader, sink: &mut impl Sink) {
    let all = [rings[0].fd.as_raw_fd(), rings[1].fd.as_raw_fd(), stop.as_raw_fd()];
    let mut not_before = Instant::now();
    let mut settled = not_before.checked_sub(SETTLE).unwrap_or(not_before);
    let mut unsettled = false;
    loop {
        let mut stopped = wait(all, unsettled.then(|| settled + SETTLE));
        if !stopped && Instant::now() < not_before {
            stopped = wait([-1, -1, all[2]], Some(not_before));
        }
        let share = drain(rings, sink);
        let now = Instant::now();
        not_before = now
            + match share {
                None => AGAIN,
                Some(share) if share > CROWDED => Duration::ZERO,
                Some(_) => GATHER,
            };
        unsettled |= share.is_some_and(|share| share > 0.0);
        if unsettled && (stopped || now >= settled + SETTLE) {
            sink.settle();
            (settled, unsettled) = (now, false);
        }
        if stopped {
            return;
        }
    }
}

/// Waits for any of the descriptors, or until a time. True when the last one was closed at its other end.
fn wait(fds: [i32; 3], until: Option<Instant>) -> bool {
    let timeout_ms = until.map_or(-1, |until| {
        let left = until.saturating_duration_since(Instant::now());
        i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    });
    let mut fds = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: three initialised pollfds that live across the call.
    unsafe { libc::poll(fds.as_mut_ptr(), 3, timeout_ms) };
    fds[2].revents & libc::POLLHUP != 0
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::Raw;

    #[test]
    fn a_short_entry_is_refused() {
        let mut words = [0u64; 17];
        let entry = words.as_mut_bytes();
        assert!(Raw::decode(&entry[..64]).is_none());
        entry[6] = 3; // path_len
        assert!(Raw::decode(&entry[..130]).is_none());
        entry[6] = 2;
        assert_eq!(Raw::decode(&entry[..130]).expect("decodes").path, [0, 0]);
        entry[130..136].copy_from_slice(b"junk/x");
        assert_eq!(Raw::decode(entry).expect("decodes").path, b"/x"); // what is before it is padding
        assert!(Raw::decode(&entry[1..]).is_none());
    }
}
