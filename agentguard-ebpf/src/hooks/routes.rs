//! Level `lsm`: routes in packets, which lead them elsewhere than to the address that was decided about.

use agentguard_common::event::Action;
use agentguard_common::policy::privilege::RAW_SOCKET;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::net::answer;
use super::privilege::demand_as;
use crate::{kread, member, offset};

const IPPROTO_IP: u32 = 0;
const IPPROTO_IPV6: u32 = 41;
const IP_OPTIONS: u32 = 4;
const IP_RETOPTS: u32 = 7;
const IPV6_2292RTHDR: u32 = 5;
const IPV6_2292PKTOPTIONS: u32 = 6;
const IPV6_RTHDR: u32 = 57;
/// Control messages of one message that are looked at.
const MAX_CONTROLS: u32 = 16;

/// Whether a socket option or a control message can name a route: packets then go to its first hop, not to the address
/// that was decided about.
#[inline(always)]
const fn names_route(level: u32, name: u32) -> bool {
    match level {
        IPPROTO_IP => matches!(name, IP_OPTIONS | IP_RETOPTS),
        IPPROTO_IPV6 => matches!(name, IPV6_RTHDR | IPV6_2292RTHDR | IPV6_2292PKTOPTIONS),
        _ => false,
    }
}

/// The front of a control message.
#[derive(Clone, Copy)]
#[repr(C)]
struct ControlHeader {
    len: u64,
    level: u32,
    kind: u32,
}

/// Whether control messages (`len` bytes at the kernel address `at`) name a route, or are more than are looked at.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn names_routes(at: u64, len: u64) -> i32 {
    i32::from(routes(at as usize, len))
}

#[inline(always)]
fn routes(at: usize, len: u64) -> bool {
    let mut offset = 0;
    let mut i = 0;
    while i < MAX_CONTROLS {
        if offset + size_of::<ControlHeader>() as u64 > len {
            return false;
        }
        let Some(header) = kread::read::<ControlHeader>(at + offset as usize) else { return true };
        if names_route(header.level, header.kind) || header.len < size_of::<ControlHeader>() as u64 {
            return header.len >= size_of::<ControlHeader>() as u64; // the kernel refuses a shorter one
        }
        offset += (header.len & 0xffff_ffff).next_multiple_of(8);
        i += 1;
    }
    true
}

/// Options of a socket that name a route.
#[lsm(hook = "socket_setsockopt")]
pub fn socket_setsockopt(ctx: LsmContext) -> i32 {
    let (level, name): (u32, u32) = (ctx.arg(1), ctx.arg(2));
    if names_route(level, name) { demand_as(Action::Privilege, RAW_SOCKET) } else { 0 }
}

/// Decides about the control messages of `message`. Returns what the hook returns, 0 if it may go on.
///
/// # Safety
/// The verifier knows `message` as a trusted `struct msghdr *`.
#[inline(always)]
pub(super) unsafe fn decide_controls(message: *const u8) -> i32 {
    // SAFETY: by contract.
    let len = unsafe { member!(message, msghdr_controllen: u64) };
    // The address by a helper, which gives a number: for newer verifiers the member is a pointer.
    let control = || kread::word(message as usize + offset!(msghdr_control)) as u64;
    if len != 0 && answer(names_routes(control(), len)) {
        return demand_as(Action::Privilege, RAW_SOCKET);
    }
    0
}
