//! The boot clock, on which every expiry is kept: it counts suspend and nobody can set it.

use jiff::Timestamp;

/// `CLOCK_BOOTTIME` in nanoseconds.
#[must_use]
pub fn boot_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec; the clock exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The time now in UTC, as records have it.
#[must_use]
pub fn utc_now() -> String {
    format!("{:.6}", Timestamp::now())
}

/// One moment on both clocks, by which times of the boot clock are told in UTC.
#[derive(Clone, Debug)]
pub struct Now {
    boot_ns: u64,
    utc_ns: u64,
    /// The second that was told last, and the text of a time in it: of many times that are told, most share it.
    told: (u64, Vec<u8>),
}

impl Now {
    #[must_use]
    pub fn new() -> Self {
        let utc_ns = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0);
        Self { boot_ns: boot_ns(), utc_ns, told: (0, Vec::new()) }
    }

    /// The time `boot_ns` of the boot clock, in UTC as RFC 3339 writes it.
    #[must_use]
    pub fn utc(&mut self, boot_ns: u64) -> &str {
        let ns = if boot_ns > self.boot_ns {
            self.utc_ns.saturating_add(boot_ns - self.boot_ns)
        } else {
            self.utc_ns.saturating_sub(self.boot_ns - boot_ns)
        };
        let (second, micros) = (ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
        let (told, text) = &mut self.told;
        if *told != second || text.is_empty() {
            let then = Timestamp::from_second(second.cast_signed()).unwrap_or_default();
            (*told, *text) = (second, format!("{then:.6}").into_bytes());
        }
        let mut left = micros as u32;
        for digit in text.iter_mut().rev().skip(1).take(6) {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        // SAFETY: the text of a time, of which digits were made other digits.
        unsafe { std::str::from_utf8_unchecked(text) }
    }
}

impl Default for Now {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_the_library_tells_them() {
        let mut now =
            Now { boot_ns: 5_000_000_000, utc_ns: 1_795_887_510_123_456_789, told: (0, Vec::new()) };
        for boot_ns in
            [5_000_000_000, 5_000_000_001, 5_876_543_210, 5_876_543_211, 5_876_544_000, 4, 0, 1 << 62]
        {
            let utc_ns = i128::from(now.utc_ns) + i128::from(boot_ns) - i128::from(now.boot_ns);
            let then = Timestamp::from_nanosecond(utc_ns).expect("in range");
            assert_eq!(now.utc(boot_ns), format!("{then:.6}"));
        }
    }
}
