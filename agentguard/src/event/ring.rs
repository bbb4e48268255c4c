//! Draining the rings.

use std::io::PipeReader;
use std::os::fd::AsRawFd as _;

use agentguard_common::event::{EVENTS_RING_BYTES, EventHeader, HEADER_BYTES};
use aya::maps::{MapData, RingBuf};
use zerocopy::FromBytes as _;

/// One event as it came.
pub struct Raw {
    pub header: EventHeader,
    pub path: Vec<u8>,
}

impl Raw {
    /// Decodes one ring entry; `None` when it is shorter than it says.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = EventHeader::read_from_prefix(bytes).ok()?;
        let path = rest.get(..usize::from(header.path_len))?.to_vec();
        Some(Self { header, path })
    }
}

const _: () = assert!(HEADER_BYTES == size_of::<EventHeader>());

/// Gives the events of both rings (denials, others) to `sink`, until the other end of `stop` is closed and what was
/// there by then is drained. Blocks; run it on a thread of its own.
pub fn consume(
    [mut denials, mut events]: [RingBuf<MapData>; 2],
    stop: PipeReader,
    mut sink: impl FnMut(Raw),
) {
    let mut batch = Vec::new();
    let mut stopped = false;
    while !stopped {
        stopped = wait([denials.as_raw_fd(), events.as_raw_fd(), stop.as_raw_fd()]);
        // Denials second: the one that came before a process's exit is then in the same batch as the exit.
        take(&mut events, &mut batch);
        take(&mut denials, &mut batch);
        batch.sort_by_key(|raw| raw.header.time_ns);
        batch.drain(..).for_each(&mut sink);
    }
}

/// Waits for any of the descriptors. True when the last one was closed at its other end.
fn wait(fds: [i32; 3]) -> bool {
    let mut fds = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: three initialised pollfds that live across the call.
    unsafe { libc::poll(fds.as_mut_ptr(), 3, -1) };
    fds[2].revents & libc::POLLHUP != 0
}

/// Moves what is in a ring to `batch`, but no more than a full ring holds: the producers may be faster.
fn take(ring: &mut RingBuf<MapData>, batch: &mut Vec<Raw>) {
    for _ in 0..EVENTS_RING_BYTES as usize / HEADER_BYTES {
        let Some(entry) = ring.next() else { return };
        match Raw::decode(&entry) {
            Some(raw) => batch.push(raw),
            None => tracing::error!("undecodable event of {} bytes", entry.len()),
        }
    }
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
