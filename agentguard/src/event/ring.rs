//! Draining the rings.

use std::os::fd::AsRawFd as _;

use agentguard_common::event::{EventHeader, HEADER_BYTES};
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

/// Drains the rings until `sink` returns false. Blocks; run it on a thread of its own.
pub fn consume(mut rings: [RingBuf<MapData>; 2], mut sink: impl FnMut(Raw) -> bool) {
    loop {
        let mut fds = [0, 1].map(|i: usize| libc::pollfd {
            fd: rings[i].as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: two initialised pollfds; the timeout bounds the wait for shutdown.
        unsafe { libc::poll(fds.as_mut_ptr(), 2, 200) };
        for ring in &mut rings {
            while let Some(entry) = ring.next() {
                match Raw::decode(&entry) {
                    Some(raw) => {
                        if !sink(raw) {
                            return;
                        }
                    }
                    None => tracing::error!("undecodable event of {} bytes", entry.len()),
                }
            }
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
