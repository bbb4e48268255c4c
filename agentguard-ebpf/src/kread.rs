//! The only reads through kernel pointers: by address, which a helper does, or by typed pointer, which is one instruction.

use core::ffi::c_void;

use agentguard_common::offsets::CAST_CALL;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use crate::maps::word_type;

/// Reads one `T` at a kernel address. `None` when the address faults.
#[inline(always)]
pub(crate) fn read<T: Copy>(address: usize) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes all of `value`, zeroes when it fails.
    let error = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    // SAFETY: written by the helper; callers use integer types only.
    if error == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// Whether [`value`] is a load: else it asks a helper.
#[inline(always)]
pub(crate) fn is_cheap() -> bool {
    word_type() != 0
}

/// Reads one `T` of integers at a kernel address, 0 when the address faults: the helper writes zeroes then, and so does a load
/// through a typed pointer, which costs a tenth of it. Without a look at what the helper returns there is one way on for the
/// verifier, not two.
#[inline(always)]
pub(crate) fn value<T: Copy>(address: usize) -> T {
    if size_of::<T>() == align_of::<T>() {
        let word = word_type();
        if word != 0 {
            // SAFETY: a type that begins with a number as long as the longest, of which any part may be read.
            return unsafe { member(cast(address as u64, word), 0) };
        }
    }
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes all of `value`, whatever it returns; callers use integer types only.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        );
        value.assume_init()
    }
}

/// Reads a pointer-sized word, 0 when the address faults (a null pointer fails the next step).
#[inline(always)]
pub(crate) fn word(address: usize) -> usize {
    value(address)
}

/// Reads a member of a kernel object. Where the verifier does not trust the pointer, as one that was read from another object,
/// the object may be gone or null: the read gives 0. A pointer that it trusts, as the arguments of hooks, must not be null: the
/// kernel does not survive it.
///
/// # Safety
/// The verifier knows `object` as a typed pointer, and `offset` as the constant offset of a member of that size.
#[inline(always)]
pub(crate) unsafe fn member<T: Copy>(object: *const u8, offset: usize) -> T {
    // SAFETY: by contract; the verifier checks it. Volatile, since others write.
    unsafe { core::ptr::read_volatile(object.add(offset).cast::<T>()) }
}

/// What a member can be read as.
pub(crate) trait Member {
    /// Reads the member whose [`mark`](agentguard_common::offsets::mark) this is; of objects that are gone or null see
    /// [`member`].
    ///
    /// # Safety
    /// The verifier knows `object` as a typed pointer to a struct with a member of that size.
    unsafe fn read<const MARK: i32>(object: *const u8) -> Self;
}

macro_rules! members {
    ($($kind:ty: $width:literal;)*) => {$(
        impl Member for $kind {
            #[inline(always)]
            unsafe fn read<const MARK: i32>(object: *const u8) -> Self {
                let value: u64;
                #[cfg(target_arch = "bpf")]
                // SAFETY: one load, which the verifier checks. Volatile, since others write.
                unsafe {
                    core::arch::asm!(
                        concat!("{0} = *(", $width, " *)({1} + {2})"),
                        lateout(reg) value,
                        in(reg) object,
                        const MARK,
                        options(readonly, nostack),
                    );
                }
                #[cfg(not(target_arch = "bpf"))]
                {
                    value = object as u64 + MARK as u64; // for lints on this host
                }
                value as Self
            }
        }
    )*};
}

members! {
    u16: "u16";
    u32: "u32";
    u64: "u64";
    *const u8: "u64";
    *mut u8: "u64";
}

/// Reads a member of a kernel object in one instruction, into which the loader writes the member's offset.
///
/// # Safety
/// As of [`kread::Member::read`](crate::kread::Member::read).
#[macro_export]
macro_rules! member {
    ($object:expr, $field:ident: $kind:ty) => {
        <$kind as $crate::kread::Member>::read::<
            {
                use agentguard_common::offsets::{Offsets, mark};
                mark(core::mem::offset_of!(Offsets, $field) / size_of::<u32>())
            },
        >($object)
    };
}

/// The typed pointer to the kernel's object at `address`, of the type with the BTF id `kind`. No code but a move: the call
/// is for the verifier.
///
/// # Safety
/// The kernel has `bpf_rdonly_cast`, and the verifier knows `kind` as a constant that names a struct.
#[inline(always)]
pub(crate) unsafe fn cast(address: u64, kind: u64) -> *const u8 {
    let object: u64;
    #[cfg(target_arch = "bpf")]
    // SAFETY: a call that reads its two arguments and returns the first; the registers that calls leave undefined are
    // given up.
    unsafe {
        core::arch::asm!(
            ".quad {call}",
            call = const CAST_CALL,
            inlateout("r1") address => _,
            inlateout("r2") kind => _,
            lateout("r0") object,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(pure, nomem, nostack),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = (kind, CAST_CALL); // for lints on this host
        object = address;
    }
    object as *const u8
}
