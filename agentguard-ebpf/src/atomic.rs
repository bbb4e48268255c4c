//! Atomic read-modify-write: `core::sync::atomic` leaves it out on BPF, the instructions exist since Linux 5.12.

use core::intrinsics::{AtomicOrdering, atomic_xadd, atomic_xchg};

/// Adds `n` and returns what was there.
///
/// # Safety
/// `at` is valid for reads and writes and aligned.
#[inline(always)]
pub(crate) unsafe fn fetch_add(at: *mut u64, n: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(at, n) }
}

/// Stores `value` and returns what was there.
///
/// # Safety
/// `at` is valid for reads and writes and aligned.
#[inline(always)]
pub(crate) unsafe fn exchange(at: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(at, value) }
}
