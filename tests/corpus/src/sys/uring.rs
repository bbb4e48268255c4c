//! Operations through `io_uring`.

use io_uring::{IoUring, Probe, squeue::Entry};
use nix::errno::Errno;

use crate::{Step as _, Stop};

/// A ring.
pub struct Ring(pub IoUring);

impl Ring {
    /// A ring that can do the operation `code`.
    ///
    /// # Errors
    /// When the kernel refuses. [`Stop::Absent`] when it has no such operation, or its administrator no `io_uring`.
    pub fn doing(code: u8) -> Result<Self, Stop> {
        Self::of(IoUring::new(8), code)
    }

    /// The same, with a thread of the kernel that submits.
    ///
    /// # Errors
    /// See [`Ring::doing`].
    pub fn polled(code: u8) -> Result<Self, Stop> {
        Self::of(IoUring::builder().setup_sqpoll(1000).build(8), code)
    }

    fn of(made: std::io::Result<IoUring>, code: u8) -> Result<Self, Stop> {
        let off = std::fs::read("/proc/sys/kernel/io_uring_disabled").is_ok_and(|v| v != b"0\n");
        let ring = super::absent_if(made, Errno::ENOSYS, "io_uring");
        let ring = if off { super::absent_if(ring, Errno::EPERM, "io_uring, switched off") } else { ring };
        let ring = ring.step("io_uring_setup")?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).step("probing")?;
        if probe.is_supported(code) { Ok(Self(ring)) } else { Err(Stop::absent("the operation")) }
    }

    /// Makes room for files without a descriptor, which operations name by number.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn with_files(self) -> Result<Self, Stop> {
        self.0.submitter().register_files_sparse(4).step("registering files")?;
        Ok(self)
    }

    /// Performs an operation and returns its result.
    ///
    /// # Errors
    /// That of the operation.
    ///
    /// # Safety
    /// What the entry points to is as the operation demands, and lives across the call.
    pub unsafe fn perform(&mut self, entry: &Entry) -> Result<i32, Stop> {
        // SAFETY: the caller's promise.
        unsafe { self.0.submission().push(entry) }.expect("room for one entry");
        self.0.submit_and_wait(1).step("io_uring_enter")?;
        let result = self.0.completion().next().expect("one completion").result();
        if result < 0 { Err(Errno::from_raw(-result).into()) } else { Ok(result) }
    }
}
