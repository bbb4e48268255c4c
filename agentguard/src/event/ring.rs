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
    pub header: EventHeader,
    pub path: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Decodes one ring entry; `None` when it is shorter than it says.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = EventHeader::read_from_prefix(bytes).ok()?;
        let path = rest.get(..usize::from(header.path_len))?;
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

    /// Gives the room of all entries before `position` back.
    fn commit(&self, position: u64) {
        // SAFETY: a live mapping, aligned to a page.
        unsafe { self.consumer.as_ref() }.store(position, Ordering::Release);
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
    /// Nothing more is there for now.
    fn idle(&mut self);
}

/// Takes what is in both rings, in batches. False when the sink could not record.
fn drain(rings: &[Ring; 2], sink: &mut impl Sink) -> bool {
    let [denials, events] = rings;
    loop {
        let mut batch = Vec::new();
        // Denials second: the one that came before a process's exit is then in the same batch as the exit.
        let events_to = events.peek(&mut batch);
        let denials_to = denials.peek(&mut batch);
        if batch.is_empty() {
            events.commit(events_to);
            denials.commit(denials_to);
            return true;
        }
        batch.sort_by_key(|raw| raw.header.time_ns);
        if !sink.record(&batch) {
            return false;
        }
        events.commit(events_to);
        denials.commit(denials_to);
    }
}

/// How long to wait before what could not be recorded is tried again, in milliseconds.
const AGAIN_MS: i32 = 200;

/// Gives the events of both rings (denials, others) to `sink`, until the other end of `stop` is closed and what was
/// there by then is recorded. Blocks; run it on a thread of its own.
pub fn consume(rings: &[Ring; 2], stop: &PipeReader, sink: &mut impl Sink) {
    let mut stopped = false;
    let mut recorded = true;
    while !stopped {
        stopped = if recorded {
            wait([rings[0].fd.as_raw_fd(), rings[1].fd.as_raw_fd(), stop.as_raw_fd()], -1)
        } else {
            wait([-1, -1, stop.as_raw_fd()], AGAIN_MS)
        };
        recorded = drain(rings, sink);
        if recorded {
            sink.idle();
        }
    }
}

/// Waits for any of the descriptors. True when the last one was closed at its other end.
fn wait(fds: [i32; 3], timeout_ms: i32) -> bool {
    let mut fds = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: three initialised pollfds that live across the call.
    unsafe { libc::poll(fds.as_mut_ptr(), 3, timeout_ms) };
    fds[2].revents & libc::POLLHUP != 0
}

#[cfg(test)]
mod tests {
    use super::Raw;

    #[test]
    fn a_short_entry_is_refused() {
        assert!(Raw::decode(&[0; 64]).is_none());
        let mut entry = [0u8; 130];
        entry[6] = 3; // path_len
        assert!(Raw::decode(&entry).is_none());
        entry[6] = 2;
        assert_eq!(Raw::decode(&entry).expect("decodes").path, [0, 0]);
    }
}
