//! The policy's DFA over the bytes of a path.

use core::ffi::c_void;

use agentguard_common::event::{HEADER_BYTES, MAX_PATH};
use agentguard_common::file::{self, Access, StateVerdict, Trial};
use agentguard_common::policy::FileTables;
use agentguard_common::verdict::{Decision, Reason, Verdict};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_skb_load_bytes};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

use crate::maps::{Arena, POLICIES, Scratch, UNKNOWN, masked};
use crate::path::{Buffer, INDEX_MASK, bytes};
use crate::subject::Subject;

const BYTES_PER_STEP: u32 = 8;

#[repr(C)]
struct Scan {
    tables: FileTables,
    arena: Arena,
    buffer: *const u8,
    position: u32,
    state: u32,
    parent_state: u32,
    padding: u32,
}

/// Eight bytes of the DFA walk.
unsafe extern "C" fn scan_step(_index: u32, scan: *mut Scan) -> i64 {
    // SAFETY: the context that `verdict` passed to bpf_loop.
    let scan = unsafe { &mut *scan };
    let mut i = 0;
    while i < BYTES_PER_STEP {
        if scan.position >= MAX_PATH as u32 {
            return 1;
        }
        let position = masked::<{ INDEX_MASK as i32 }>(u64::from(scan.position));
        // SAFETY: the masked position is inside the buffer.
        let byte = unsafe { *scan.buffer.add(HEADER_BYTES + position as usize) };
        scan.state = file::step(&scan.arena, scan.tables, scan.state, byte);
        if byte == b'/' {
            scan.parent_state = scan.state;
        }
        scan.position += 1;
        i += 1;
    }
    0
}

/// The state that the policy's DFA is in behind the path at `position`, and its verdict; with `below` that of what is
/// directly below it.
#[inline(always)]
pub(crate) fn state(subject: &Subject, buffer: &Buffer, position: u32, below: bool) -> (u32, StateVerdict) {
    let tables = subject.file_tables();
    let answer = state_behind(buffer.scratch(), position, &raw const tables, u32::from(below));
    ((answer >> 32) as u32, StateVerdict(answer as u32))
}

/// The state in the upper half, its verdict in the lower; 0, which allows nothing, on failure.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn state_behind(
    scratch: *mut Scratch,
    position: u32,
    tables: *const FileTables,
    below: u32,
) -> u64 {
    // SAFETY: null or a caller's live tables.
    let Some(&tables) = (unsafe { tables.as_ref() }) else { return 0 };
    let Some(arena) = Arena::get() else { return 0 };
    if scratch.is_null() {
        return 0;
    }
    let mut scan = Scan {
        tables,
        arena,
        buffer: bytes(scratch),
        position,
        state: tables.start,
        parent_state: UNKNOWN,
        padding: 0,
    };
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe {
        bpf_loop(
            MAX_PATH as u32 / BYTES_PER_STEP,
            scan_step as *const () as *mut c_void,
            (&raw mut scan).cast(),
            0,
        );
    }
    // SAFETY: a live map value, claimed for this decision.
    unsafe { (*scratch).parent_state = scan.parent_state };
    if below != 0 && position < MAX_PATH as u32 - 1 {
        scan.state = file::step(&arena, scan.tables, scan.state, b'/');
    }
    u64::from(scan.state) << 32 | u64::from(file::state_verdict(&arena, scan.tables, scan.state).0)
}

/// Decides `want` on the path at `position`.
#[inline(always)]
pub(crate) fn decide(subject: &Subject, buffer: &Buffer, position: u32, want: Access) -> (Verdict, Access) {
    if let Some(reason) = subject.barred {
        return (Verdict::deny(reason), want);
    }
    let (_, verdict) = state(subject, buffer, position, false);
    (file::decide(verdict, want), want.without(verdict.allow()))
}

/// Never attached: `BPF_PROG_TEST_RUN` runs and times it. The packet is a [`Trial`] and a path of one to `MAX_PATH` bytes;
/// the answer is the packed verdict about the path, decided as for every hook.
#[classifier]
pub fn decision_trial(ctx: TcContext) -> i32 {
    let failed = Verdict::deny(Reason::Internal).packed() as i32;
    let Ok(trial) = ctx.load::<Trial>(0) else { return failed };
    let Some(buffer) = Buffer::claim() else { return failed };
    let verdict = on_packet(&ctx, &buffer, &trial);
    buffer.release();
    verdict.packed() as i32
}

#[inline(always)]
fn on_packet(ctx: &TcContext, buffer: &Buffer, trial: &Trial) -> Verdict {
    let failed = Verdict::deny(Reason::Internal);
    let before = size_of::<Trial>() as u32;
    let len = masked::<{ INDEX_MASK as i32 }>(u64::from(ctx.len().wrapping_sub(before + 1))) as u32 + 1;
    let position = masked::<{ INDEX_MASK as i32 }>(u64::from(MAX_PATH as u32 - len));
    // SAFETY: the masked position and length are inside the buffer, which has slack for both.
    let error = unsafe {
        let at = bytes(buffer.scratch()).add(HEADER_BYTES + position as usize);
        bpf_skb_load_bytes(ctx.as_ptr().cast(), before, at.cast(), len)
    };
    if error != 0 {
        return failed;
    }
    if trial.decides == 0 {
        return Verdict::new(Decision::Allow, Reason::Rule);
    }
    let Some(policy) = POLICIES.get_ptr(trial.policy) else { return failed };
    // SAFETY: a live map value.
    let tables = unsafe { (*policy).file_tables() };
    let answer = state_behind(buffer.scratch(), position as u32, &raw const tables, 0);
    file::decide(StateVerdict(answer as u32), Access(trial.want as u16))
}
