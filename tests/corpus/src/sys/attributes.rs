//! Extended attributes and flags of files.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

use nix::errno::Errno;

use super::{absent_if, c, result};
use crate::Stop;

/// The file is not to be dumped by `dump(8)`: a flag that any owner may set.
pub const NODUMP: libc::c_long = 0x40;

/// The extended attribute that is a file's access list.
pub const ACCESS_LIST: &CStr = c"system.posix_acl_access";

/// An access list that lets user 1 do everything, as the kernel wants it.
#[must_use]
pub fn access_list() -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    // Tag, permissions and id: owner, user 1, group, mask, others.
    let entries = [(1_u16, 6_u16, NOBODY), (2, 7, 1), (4, 6, NOBODY), (16, 7, NOBODY), (32, 6, NOBODY)];
    let version = 2_u32.to_le_bytes();
    let bytes = entries.iter().flat_map(|(tag, permissions, id)| {
        [tag.to_le_bytes().as_slice(), &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    version.into_iter().chain(bytes).collect()
}

/// Sets an extended attribute.
///
/// # Errors
/// When the kernel refuses; [`Stop::Absent`] where the file system has no such attributes.
pub fn set(path: &Path, name: &CStr, value: &[u8]) -> Result<(), Stop> {
    let path = c(path);
    // SAFETY: both strings and the value live across the call.
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    supported(result(set.into()))
}

/// Removes an extended attribute.
///
/// # Errors
/// As [`set`].
pub fn remove(path: &Path, name: &CStr) -> Result<(), Stop> {
    let path = c(path);
    // SAFETY: both strings live across the call.
    supported(result(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }.into()))
}

/// The value of an extended attribute.
///
/// # Errors
/// As [`set`].
pub fn get(path: &Path, name: &CStr) -> Result<Vec<u8>, Stop> {
    let (path, mut value) = (c(path), vec![0_u8; 256]);
    // SAFETY: both strings and the room for the value live across the call.
    let len = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let len = absent_if(result(len as i64), Errno::EOPNOTSUPP, NO_ATTRIBUTES)?;
    value.truncate(len as usize);
    Ok(value)
}

const NO_ATTRIBUTES: &str = "such attributes on this file system";

fn supported(result: Result<i64, Stop>) -> Result<(), Stop> {
    absent_if(result, Errno::EOPNOTSUPP, NO_ATTRIBUTES).map(drop)
}

/// The flags of an open file.
///
/// # Errors
/// When the kernel refuses; [`Stop::Absent`] where the file system has none.
pub fn flags(file: impl AsFd) -> Result<libc::c_long, Stop> {
    let mut flags = 0;
    // SAFETY: the flags live across the call.
    let got = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
    flagged(got).map(|()| flags)
}

/// Sets the flags of an open file.
///
/// # Errors
/// As [`flags`].
pub fn set_flags(file: impl AsFd, flags: libc::c_long) -> Result<(), Stop> {
    // SAFETY: the flags live across the call.
    flagged(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) })
}

fn flagged(returned: i32) -> Result<(), Stop> {
    let known = absent_if(result(returned.into()), Errno::ENOTTY, NO_FLAGS);
    absent_if(known, Errno::EOPNOTSUPP, NO_FLAGS).map(drop)
}

const NO_FLAGS: &str = "flags on this file system";
