//! What the kernel plane and the control plane share: the wire structs of every map and event, and the
//! decision functions.
//!
//! Nothing here knows a kernel pointer. The eBPF hooks translate kernel objects into facts, call
//! [`file::decide`] or [`net::decide`], and return the verdict. The daemon, `policy test` and the property
//! tests call the very same functions over the very same tables, so what is explained is what is enforced.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod census;
pub mod counter;
pub mod enrolment;
pub mod event;
pub mod file;
pub mod invocation;
pub mod net;
pub mod offsets;
pub mod policy;
pub mod preemption;
pub mod verdict;

/// Version of everything that programs of one build leave in pinned maps for programs of another: map definitions, the
/// structs in this crate, and what their numbers mean. A change to any of these takes the next number.
pub const LAYOUT: u32 = 2;

/// Source of the 32-bit words of compiled policy tables: the arena map in the kernel, a slice on the host.
pub trait Words {
    /// The word at `index`. Implementations must not fault on any index; out of range reads give some word,
    /// and the control plane only publishes tables whose indices are in range.
    fn word(&self, index: u32) -> u32;

    /// Byte number `at` of the words from `index` on, each with its least significant byte first.
    #[inline(always)]
    fn byte(&self, index: u32, at: u8) -> u8 {
        (self.word(index + u32::from(at >> 2)) >> (u32::from(at & 3) * 8)) as u8
    }
}

impl Words for [u32] {
    fn word(&self, index: u32) -> u32 {
        self.get(index as usize).copied().unwrap_or(0)
    }
}

/// The sign of a difference: 1 if it is negative. Opaque to the compiler, which would make a comparison and branches of it,
/// and each branch in a loop doubles what the kernel's verifier looks at.
#[inline(always)]
#[must_use]
pub fn sign(difference: u64) -> u32 {
    let mut sign = difference;
    #[cfg(target_arch = "bpf")]
    // SAFETY: one instruction on a register.
    unsafe {
        core::arch::asm!("{0} >>= 63", inout(reg) sign, options(pure, nomem, nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        sign >>= 63;
    }
    sign as u32
}
