//! The only reads through kernel pointers.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

/// Reads one `T` at a kernel address. `None` when the address faults.
#[inline(always)]
pub(crate) fn read<T: Copy>(address: usize) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the helper writes at most all of `value`.
    let error = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    // SAFETY: zeroed, then written by the helper; callers use integer types only.
    if error == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// Reads a pointer-sized word, 0 when the address faults (a null pointer fails the next step).
#[inline(always)]
pub(crate) fn word(address: usize) -> usize {
    read::<usize>(address).unwrap_or(0)
}
