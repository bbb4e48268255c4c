//! Code in memory that no program file brought.

use std::ffi::c_void;
use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, FromRawFd as _};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect};

use crate::{Scene, Step as _, Stop, verify};

/// `mov eax, 42; ret`
pub const CODE: [u8; 6] = [0xb8, 42, 0, 0, 0, 0xc3];
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

pub const READ: ProtFlags = ProtFlags::PROT_READ;
pub const READ_WRITE: ProtFlags = READ.union(ProtFlags::PROT_WRITE);
pub const READ_EXEC: ProtFlags = READ.union(ProtFlags::PROT_EXEC);
pub const ALL: ProtFlags = READ_WRITE.union(ProtFlags::PROT_EXEC);

/// A page of memory.
#[derive(Clone, Copy, Debug)]
pub struct Page(pub NonNull<c_void>);

impl Page {
    /// A page without a file.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn anonymous(protection: ProtFlags) -> Result<Self, Stop> {
        // SAFETY: a new mapping, at a place that the kernel chooses.
        Ok(Self(unsafe { mmap_anonymous(None, PAGE, protection, MapFlags::MAP_PRIVATE) }.step("mapping")?))
    }

    /// The first page of a file, private.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn of(file: impl AsFd, protection: ProtFlags) -> Result<Self, Stop> {
        // SAFETY: a new mapping, at a place that the kernel chooses.
        Ok(Self(unsafe { mmap(None, PAGE, protection, MapFlags::MAP_PRIVATE, file, 0) }.step("mapping")?))
    }

    /// Writes the code to it.
    #[must_use]
    pub fn with_code(self) -> Self {
        // SAFETY: the callers' pages are writable, their own, and longer than the code.
        unsafe { self.0.cast::<u8>().as_ptr().copy_from(CODE.as_ptr(), CODE.len()) };
        self
    }

    /// Changes its protection.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn protect(self, protection: ProtFlags) -> Result<Self, Stop> {
        // SAFETY: an own mapping that nothing else uses.
        unsafe { mprotect(self.0, PAGE.get(), protection) }.step("protecting")?;
        Ok(self)
    }

    /// Runs the code in it.
    ///
    /// # Errors
    /// When it is other code.
    pub fn runs(self) -> Result<(), Stop> {
        // SAFETY: the callers put `CODE` there, which is a function of this type.
        let code: extern "C" fn() -> i32 = unsafe { std::mem::transmute(self.0.as_ptr()) };
        verify(code() == 42, "running the code")
    }
}

/// A file in the workspace with the code, open for reading.
///
/// # Errors
/// When it can't be made.
pub fn code_file(scene: &Scene) -> Result<File, Stop> {
    let path = scene.own("code");
    let mut page = vec![0; PAGE.get()];
    page[..CODE.len()].copy_from_slice(&CODE);
    std::fs::write(&path, page).step("writing the file")?;
    File::open(path).step("opening the file")
}

/// A memory file with `content` that may be executed.
///
/// # Errors
/// When it can't be made.
pub fn file(content: &[u8]) -> Result<File, Stop> {
    const MFD_EXEC: u32 = 0x10; // from 6.3 on; kernels before do not know it and need no leave
    let make = |flags| {
        // SAFETY: the name lives across the call.
        super::result(i64::from(unsafe { libc::memfd_create(c"corpus".as_ptr(), flags) }))
    };
    let fd = make(libc::MFD_CLOEXEC | MFD_EXEC).or_else(|_| make(libc::MFD_CLOEXEC)).step("making it")?;
    // SAFETY: a fresh fd that nothing else owns.
    let mut file = unsafe { File::from_raw_fd(fd as i32) };
    file.write_all(content).step("writing it")?;
    Ok(file)
}
