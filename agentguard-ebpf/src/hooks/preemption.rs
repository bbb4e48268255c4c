//! Before anything else is attached: can another task run while a program does? `kernel/preemption.rs` says what a level
//! loses where it can.

use core::ffi::c_void;

use agentguard_common::preemption::{PATIENCE_NS, Trial, outcome};
use aya_ebpf::helpers::generated::{bpf_get_current_comm, bpf_loop};
use aya_ebpf::macros::{btf_tracepoint, lsm, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{BtfTracePointContext, LsmContext};

use crate::subject::now;

/// More looks than fit into [`PATIENCE_NS`].
const LOOKS: u32 = 1 << 22;

#[map]
static TRIAL: Array<Trial> = Array::with_max_entries(1, aya_ebpf::bindings::BPF_F_MMAPABLE);

/// Looks once whether somebody else ran.
unsafe extern "C" fn look(_index: u32, until: *mut u64) -> i64 {
    let Some(trial) = TRIAL.get_ptr(0) else { return 1 };
    // SAFETY: a live map value; volatile, as the other side stores while this loops.
    if unsafe { (&raw const (*trial).seen).read_volatile() } != 0 {
        return 1;
    }
    // SAFETY: the context that `wait` passed to bpf_loop.
    i64::from(now() >= unsafe { *until })
}

/// Level `compat`: in the program that its identity depends on.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn preemption_trial(_ctx: BtfTracePointContext) -> i32 {
    wait()
}

/// Level `lsm`: in a program as all that read the tag.
#[lsm(hook = "task_alloc")]
pub fn lsm_preemption_trial(_ctx: LsmContext) -> i32 {
    wait()
}

/// Waits to be interrupted, in the thread of the trial.
#[inline(always)]
fn wait() -> i32 {
    let Some(trial) = TRIAL.get_ptr_mut(0) else { return 0 };
    let mut name = [0u64; 2];
    // SAFETY: the helper writes the 16 bytes of `name`.
    unsafe { bpf_get_current_comm(name.as_mut_ptr().cast::<c_void>(), 16) };
    // SAFETY: a live map value.
    if name != unsafe { (*trial).name } {
        return 0;
    }
    // SAFETY: a live map value.
    unsafe { (&raw mut (*trial).waits).write_volatile(1) };
    let mut until = now() + PATIENCE_NS;
    let context = (&raw mut until).cast::<c_void>();
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe { bpf_loop(LOOKS, look as *const () as *mut c_void, context, 0) };
    // SAFETY: a live map value.
    unsafe {
        (&raw mut (*trial).waits).write_volatile(0);
        let seen = (&raw const (*trial).seen).read_volatile() != 0;
        (*trial).outcome = if seen { outcome::INTERRUPTED } else { outcome::WHOLE };
    }
    0
}
