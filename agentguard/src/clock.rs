//! The boot clock, on which every expiry is kept: it counts suspend and nobody can set it.

use std::time::Duration;

use jiff::Timestamp;

/// `CLOCK_BOOTTIME` in nanoseconds.
#[must_use]
pub fn boot_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec; the clock exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// One moment on both clocks, by which times of the boot clock are told in UTC.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    boot_ns: u64,
    utc: Timestamp,
}

impl Now {
    #[must_use]
    pub fn new() -> Self {
        Self { boot_ns: boot_ns(), utc: Timestamp::now() }
    }

    /// The time `boot_ns` of the boot clock, in UTC as RFC 3339 writes it.
    #[must_use]
    pub fn utc(&self, boot_ns: u64) -> String {
        let then = if boot_ns > self.boot_ns {
            self.utc + Duration::from_nanos(boot_ns - self.boot_ns)
        } else {
            self.utc - Duration::from_nanos(self.boot_ns - boot_ns)
        };
        format!("{then:.6}")
    }
}

impl Default for Now {
    fn default() -> Self {
        Self::new()
    }
}
