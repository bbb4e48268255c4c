//! Array maps mapped into memory.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;

use anyhow::{Result, bail};

/// A `BPF_F_MMAPABLE` array of `T`, shared with the kernel. Every access is volatile.
pub(super) struct Mapped<T> {
    base: NonNull<T>,
    len: usize,
}

// SAFETY: the memory is shared with the kernel anyway; all accesses are volatile reads and writes of plain data.
unsafe impl<T: Send> Send for Mapped<T> {}

impl<T: Copy> Mapped<T> {
    /// Maps `len` elements of the map behind `fd`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn new(fd: BorrowedFd<'_>, len: usize) -> Result<Self> {
        let bytes = (len * size_of::<T>()).next_multiple_of(4096);
        // SAFETY: a fresh shared mapping of a map fd; the kernel checks its size.
        let base = unsafe {
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), bytes, prot, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        let Some(base) = NonNull::new(base.cast::<T>()).filter(|_| base != libc::MAP_FAILED) else {
            bail!("mmap of a BPF map: {}", std::io::Error::last_os_error());
        };
        Ok(Self { base, len })
    }

    /// Element `index`.
    #[must_use]
    pub(super) fn get(&self, index: usize) -> T {
        assert!(index < self.len, "map index out of range");
        // SAFETY: in range of the mapping; `T` is plain data.
        unsafe { self.base.add(index).read_volatile() }
    }

    /// Stores element `index`.
    pub(super) fn set(&self, index: usize, value: T) {
        assert!(index < self.len, "map index out of range");
        // SAFETY: in range of the mapping; `T` is plain data.
        unsafe { self.base.add(index).write_volatile(value) }
    }

    /// Address of element `index`, to store single fields.
    #[must_use]
    pub(super) fn at(&self, index: usize) -> *mut T {
        assert!(index < self.len, "map index out of range");
        // SAFETY: in range of the mapping.
        unsafe { self.base.add(index).as_ptr() }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        let bytes = (self.len * size_of::<T>()).next_multiple_of(4096);
        // SAFETY: exactly the mapping that `new` made.
        unsafe { libc::munmap(self.base.as_ptr().cast(), bytes) };
    }
}
