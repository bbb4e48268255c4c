//! Addresses: LSM socket hooks (level `lsm`) and cgroup hooks (both levels) over the same tables.

use core::ffi::c_void;
use core::ptr::null_mut;

use agentguard_common::counter::Counter;
use agentguard_common::event::{Action, EventHeader};
use agentguard_common::invocation::Tag;
use agentguard_common::net::{self, Address, IPPROTO_TCP, NetFacts, NetOp};
use agentguard_common::policy::privilege::RAW_SOCKET;
use agentguard_common::verdict::{Reason, Verdict};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE};
use aya_ebpf::helpers::generated::{bpf_sk_fullsock, bpf_sk_storage_get};
use aya_ebpf::macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, lsm};
use aya_ebpf::programs::{LsmContext, SkBuffContext, SockAddrContext, SockContext};

use super::privilege::demand_as;
use crate::emit::{self, EPERM};
use crate::maps::{Arena, CONTROL, SOCKET_TAG, count};
use crate::subject::{Subject, current_task, now, tag_of};
use crate::{kread, offset};

const AF_UNSPEC: u16 = 0;
pub(super) const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_MPTCP: u32 = 262;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_UDPLITE: u32 = 136;
const ALLOW: i32 = 1;
const REFUSE: i32 = 0;

/// Multipath TCP is TCP to the rules; other protocol numbers fit a byte.
#[inline(always)]
const fn protocol(raw: u32) -> u8 {
    if raw == IPPROTO_MPTCP { IPPROTO_TCP } else { raw as u8 }
}

/// Whether rules can say, and hooks can see, where sockets of this type and protocol talk to. SCTP adds peers by socket
/// options, and ping sockets send without the cgroup hooks.
#[inline(always)]
const fn expressible(kind: u32, protocol: u32) -> bool {
    match kind & 0xf {
        SOCK_STREAM => matches!(protocol, 0 | 6 | IPPROTO_MPTCP),
        SOCK_DGRAM => matches!(protocol, 0 | 17 | IPPROTO_UDPLITE),
        _ => false,
    }
}

/// A request about an address, in memory: global functions get memory, in which the verifier sees numbers, and are
/// checked once for all callers.
#[repr(C)]
pub struct Request {
    tag: Tag,
    /// `AF_INET`, with the address in the last word, or `AF_INET6`; host order.
    address: [u32; 4],
    family: u32,
    /// [`NetOp`].
    op: u32,
    protocol: u32,
    port: u32,
}

impl Request {
    #[inline(always)]
    fn facts(&self) -> NetFacts {
        NetFacts {
            op: if self.op == NetOp::Bind as u32 { NetOp::Bind } else { NetOp::Connect },
            protocol: self.protocol as u8,
            port: self.port as u16,
            address: if self.family == u32::from(AF_INET) {
                Address::V4(self.address[3])
            } else {
                Address::V6(self.address)
            },
        }
    }
}

/// Decides a request and records it. True when the task is stopped.
#[inline(always)]
fn stopped(tag: Tag, facts: &NetFacts) -> bool {
    let (family, address) = match facts.address {
        Address::V4(addr) => (AF_INET, [0, 0, 0, addr]),
        Address::V6(words) => (AF_INET6, words),
    };
    let request = Request {
        tag,
        address,
        family: u32::from(family),
        op: facts.op as u32,
        protocol: u32::from(facts.protocol),
        port: u32::from(facts.port),
    };
    answer(decide_address(&raw const request))
}

/// Decides a request and records it. Returns 0 to let it through.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn decide_address(request: *const Request) -> i32 {
    // SAFETY: null or a caller's live `Request`.
    let Some(request) = (unsafe { request.as_ref() }) else { return 1 };
    let subject = Subject::of(request.tag);
    let verdict = match (subject.barred, Arena::get()) {
        (Some(reason), _) => Verdict::deny(reason),
        (None, None) => Verdict::deny(Reason::Internal),
        (None, Some(arena)) => net::decide(&arena, &subject.policy(), &request.facts()),
    };
    if emit::is_wanted(&subject, verdict) {
        record_address(request, verdict.packed());
    }
    i32::from(subject.stops(verdict))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn record_address(request: *const Request, verdict: u32) -> i32 {
    // SAFETY: null or a caller's live `Request`.
    let Some(request) = (unsafe { request.as_ref() }) else { return 0 };
    let (subject, verdict) = (Subject::of(request.tag), Verdict::unpacked(verdict));
    let action = if request.op == NetOp::Bind as u32 { Action::Bind } else { Action::Connect };
    let mut event = EventHeader::default();
    emit::fill(&mut event, &subject, action, verdict);
    event.protocol = request.protocol as u16;
    event.port = request.port as u16;
    event.family = request.family as u16;
    event.address = request.address;
    event.errno = if subject.stops(verdict) { EPERM } else { 0 };
    let ring = emit::ring_for(&subject, verdict);
    emit::plain(&subject, ring, &mut event);
    0
}

/// A global function's answer. Through memory, or the compiler would compute what the program returns from a number
/// of which the verifier knows nothing.
#[inline(always)]
fn answer(refused: i32) -> bool {
    core::hint::black_box(refused) != 0
}

/// Refuses and records a socket or address that rules cannot express. True when the task is stopped.
#[inline(always)]
fn refuse_family(subject: &Subject, action: Action, family: u16, socket_type: u16) -> bool {
    let (action, family, kind) = (action as u32, u32::from(family), u32::from(socket_type));
    answer(refuse_expression(&raw const subject.tag, action, family, kind))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn refuse_expression(tag: *const Tag, action: u32, family: u32, socket_type: u32) -> i32 {
    // SAFETY: null or a caller's live tag.
    let Some(&tag) = (unsafe { tag.as_ref() }) else { return 1 };
    let subject = Subject::of(tag);
    let verdict = Verdict::deny(subject.barred.unwrap_or(Reason::Family));
    let stops = subject.stops(verdict);
    let mut event = EventHeader::default();
    emit::fill(&mut event, &subject, Action::Socket, verdict);
    event.action = action as u16;
    event.family = family as u16;
    event.socket_type = socket_type as u16;
    event.errno = if stops { EPERM } else { 0 };
    let ring = emit::ring_for(&subject, verdict);
    emit::plain(&subject, ring, &mut event);
    i32::from(stops)
}

/// Refuses a peer or a socket that no rule can name. Returns what the hook returns.
#[inline(always)]
pub(super) fn refuse_socket(subject: &Subject, action: Action, family: u16) -> i32 {
    emit::outcome(refuse_family(subject, action, family, 0), EPERM)
}

macro_rules! sock_addr_hooks {
    ($($attach:ident $name:ident: $op:ident, $family:ident;)*) => {$(
        #[cgroup_sock_addr($attach)]
        pub fn $name(ctx: SockAddrContext) -> i32 {
            let Some(subject) = Subject::current_or_worker() else { return ALLOW };
            // SAFETY: the context is valid for the program's run; the verifier checks each field access.
            let (address, port, proto) = unsafe {
                let addr = ctx.sock_addr;
                (sock_addr_hooks!(@$family addr, $op), (*addr).user_port, (*addr).protocol)
            };
            let facts = NetFacts {
                op: NetOp::$op,
                protocol: protocol(proto),
                port: u16::from_be(port as u16),
                address,
            };
            if stopped(subject.tag, &facts) { REFUSE } else { ALLOW }
        }
    )*};
    (@v4 $addr:ident, $op:ident) => { Address::v4(u32::from_be((*$addr).user_ip4), NetOp::$op) };
    (@v6 $addr:ident, $op:ident) => {{
        let words = [
            u32::from_be(core::ptr::read_volatile(&raw const (*$addr).user_ip6[0])),
            u32::from_be(core::ptr::read_volatile(&raw const (*$addr).user_ip6[1])),
            u32::from_be(core::ptr::read_volatile(&raw const (*$addr).user_ip6[2])),
            u32::from_be(core::ptr::read_volatile(&raw const (*$addr).user_ip6[3])),
        ];
        Address::v6(words, NetOp::$op)
    }};
}

sock_addr_hooks! {
    connect4 cgroup_connect4: Connect, v4;
    connect6 cgroup_connect6: Connect, v6;
    sendmsg4 cgroup_sendmsg4: Connect, v4;
    sendmsg6 cgroup_sendmsg6: Connect, v6;
    bind4 cgroup_bind4: Bind, v4;
    bind6 cgroup_bind6: Bind, v6;
}

/// The owner of a socket.
#[inline(always)]
pub(super) fn owner(sk: *mut c_void) -> Option<Tag> {
    // SAFETY: a socket pointer that the verifier accepted; no flags, so nothing is made.
    let tag = unsafe { bpf_sk_storage_get(SOCKET_TAG.as_ptr(), sk, null_mut(), 0) } as *const Tag;
    // SAFETY: a storage value outlives the program run (RCU); checked for null.
    if tag.is_null() { None } else { Some(unsafe { *tag }) }
}

/// New inet sockets: only families and types that rules can express, and each gets its owner.
#[cgroup_sock(sock_create)]
pub fn cgroup_sock_create(ctx: SockContext) -> i32 {
    let Some(subject) = Subject::current_or_worker() else { return ALLOW };
    let sock = ctx.as_ptr().cast::<aya_ebpf::bindings::bpf_sock>();
    // SAFETY: the context is valid for the program's run.
    let (family, kind, protocol) = unsafe { ((*sock).family, (*sock).type_, (*sock).protocol) };
    let granted = subject.may(RAW_SOCKET);
    let unwanted = subject.barred.is_some() || (!expressible(kind, protocol) && !granted);
    if unwanted && refuse_family(&subject, Action::Socket, family as u16, kind as u16) {
        return REFUSE;
    }
    // SAFETY: the context is the socket.
    if unsafe { own(ctx.as_ptr(), subject.tag) } { ALLOW } else { REFUSE }
}

/// Level `lsm`: a new socket gets its owner. A socket that cannot be owned is not made.
#[lsm(hook = "socket_post_create")]
pub fn socket_post_create(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(5);
    if earlier != 0 {
        return earlier;
    }
    let Some(tag) = tag_of(current_task()) else { return 0 };
    let (sock, member) = (ctx.arg::<*const u8>(0), offset!(socket_sk));
    // SAFETY: a trusted `struct socket *`; the verifier checks the member access at the constant offset.
    let sk = unsafe { *sock.add(member).cast::<*mut c_void>() };
    if sk.is_null() {
        return 0; // nothing to send with
    }
    // SAFETY: a trusted `struct sock *`, checked for null.
    emit::outcome(!unsafe { own(sk, tag) }, EPERM)
}

/// Marks a socket as `tag`'s. False when the kernel had no memory for it.
///
/// # Safety
/// `sk` is a socket pointer that the verifier accepts.
#[inline(always)]
unsafe fn own(sk: *mut c_void, tag: Tag) -> bool {
    let mut tag = tag;
    // SAFETY: by contract; the value lives across the call, which copies it.
    let stored = unsafe {
        bpf_sk_storage_get(
            SOCKET_TAG.as_ptr(),
            sk,
            (&raw mut tag).cast::<c_void>(),
            BPF_SK_STORAGE_GET_F_CREATE as u64,
        )
    };
    if stored.is_null() {
        count(Counter::TagSocket);
    }
    !stored.is_null()
}

/// Packets of revoked or expired owners; what an invocation sent before it ended by itself goes out. An idle host pays one map read.
#[cgroup_skb(egress)]
pub fn cgroup_egress(ctx: SkBuffContext) -> i32 {
    let Some(control) = CONTROL.get_ptr(0) else { return ALLOW };
    // SAFETY: a live map value.
    let from = unsafe { core::ptr::read_volatile(&raw const (*control).recheck_from_ns) };
    if from == u64::MAX || now() < from {
        return ALLOW;
    }
    let skb = ctx.as_ptr().cast::<__sk_buff>();
    // SAFETY: the context is valid for the program's run; both socket pointers are checked for null.
    let sk = unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return ALLOW;
        }
        bpf_sk_fullsock(sk)
    };
    if sk.is_null() {
        return ALLOW;
    }
    match owner(sk.cast()) {
        Some(tag) if Subject::of(tag).is_cut() => REFUSE,
        _ => ALLOW,
    }
}

/// The front of `sockaddr_in` and `sockaddr_in6`, in network order.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawAddress {
    family: u16,
    port: u16,
    /// `sin_addr`, or the flow label of IPv6.
    v4: u32,
    v6: [u32; 4],
}

/// Reads a socket address and decides. `sock` is a `struct socket *`, `addr` a kernel copy of the address.
#[inline(always)]
fn lsm_address(subject: &Subject, op: NetOp, sock: usize, addr: usize, len: u32) -> i32 {
    let sk = kread::word(sock + offset!(socket_sk));
    let sk_family = kread::read::<u16>(sk + offset!(sk_family)).unwrap_or(u16::MAX);
    if sk_family == AF_UNIX {
        // Whom it reaches is asked once the kernel has found the peer: hooks/unix.
        let barred = subject.barred.is_some();
        return emit::outcome(barred && refuse_family(subject, Action::Unix, AF_UNIX, 0), EPERM);
    }
    let protocol_number = kread::read::<u16>(sk + offset!(sk_protocol)).unwrap_or(u16::MAX);
    let Some(raw) = kread::read::<RawAddress>(addr) else {
        count(Counter::AddressUnreadable);
        return emit::outcome(refuse_family(subject, Action::Connect, 0, 0), EPERM);
    };
    // A datagram socket takes AF_UNSPEC for AF_INET when sending.
    let family = if raw.family == AF_UNSPEC && sk_family == AF_INET { AF_INET } else { raw.family };
    let address = match family {
        AF_INET if len >= 8 => Address::v4(u32::from_be(raw.v4), op),
        AF_INET6 if len >= 24 => Address::v6(raw.v6.map(u32::from_be), op),
        _ => {
            count(Counter::AddressUnreadable);
            return emit::outcome(refuse_family(subject, Action::Connect, family, 0), EPERM);
        }
    };
    let facts = NetFacts {
        op,
        protocol: protocol(u32::from(protocol_number)),
        port: u16::from_be(raw.port),
        address,
    };
    emit::outcome(stopped(subject.tag, &facts), EPERM)
}

#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let (address, len) = (ctx.arg::<*const u8>(1) as usize, ctx.arg::<i32>(2) as u32);
    if kread::read::<u16>(address) == Some(AF_UNSPEC) && subject.barred.is_none() {
        return 0; // disconnects, whatever else the address holds
    }
    lsm_address(&subject, NetOp::Connect, ctx.arg::<*const u8>(0) as usize, address, len)
}

#[lsm(hook = "socket_bind")]
pub fn socket_bind(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let sock = ctx.arg::<*const u8>(0) as usize;
    let sk = kread::word(sock + offset!(socket_sk));
    let family = kread::read::<u16>(sk + offset!(sk_family)).unwrap_or(u16::MAX);
    let (address, len) = (ctx.arg::<*const u8>(1) as usize, ctx.arg::<i32>(2) as u32);
    if family != AF_INET && family != AF_INET6 {
        return 0; // Unix names: hooks/unix; creation of other families is filtered by socket_create
    }
    lsm_address(&subject, NetOp::Bind, sock, address, len)
}

/// A listener that was never bound gets a port of the kernel's choice on every address.
#[lsm(hook = "socket_listen")]
pub fn socket_listen(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let sk = kread::word(ctx.arg::<*const u8>(0) as usize + offset!(socket_sk));
    let family = kread::read::<u16>(sk + offset!(sk_family)).unwrap_or(AF_INET);
    let bound = kread::read::<u16>(sk + offset!(sk_num)).unwrap_or(0) != 0;
    if bound || (family != AF_INET && family != AF_INET6) {
        return 0;
    }
    let address = if family == AF_INET6 { Address::V6([0; 4]) } else { Address::V4(0) };
    let facts = NetFacts { op: NetOp::Bind, protocol: IPPROTO_TCP, port: 0, address };
    emit::outcome(stopped(subject.tag, &facts), EPERM)
}

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

/// Sends with an explicit destination (unconnected UDP, TCP Fast Open), and any send of a revoked invocation.
#[lsm(hook = "socket_sendmsg")]
pub fn socket_sendmsg(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let sock = ctx.arg::<*const u8>(0) as usize;
    let message = ctx.arg::<*const u8>(1) as usize;
    let controls = kread::read::<u64>(message + offset!(msghdr_controllen)).unwrap_or(0);
    if controls != 0 && answer(names_routes(kread::word(message + offset!(msghdr_control)) as u64, controls))
    {
        return demand_as(Action::Privilege, RAW_SOCKET);
    }
    let name = kread::word(message + offset!(msghdr_name));
    if name == 0 {
        let barred = subject.barred.is_some();
        return emit::outcome(barred && refuse_family(&subject, Action::Use, 0, 0), EPERM);
    }
    let len = kread::read::<u32>(message + offset!(msghdr_namelen)).unwrap_or(0);
    if len == 0 {
        return 0;
    }
    let family = kread::read::<u16>(kread::word(sock + offset!(socket_sk)) + offset!(sk_family));
    if family == Some(16) {
        return 0; // netlink: allowed families are decided at socket_create
    }
    lsm_address(&subject, NetOp::Connect, sock, name, len)
}

/// Families and types: inet and Unix streams and datagrams, and routing netlink (which libc's resolver needs).
#[lsm(hook = "socket_create")]
pub fn socket_create(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    let kernel: i32 = ctx.arg(3);
    if kernel != 0 || tag_of(current_task()).is_none() {
        return 0;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let family: i32 = ctx.arg(0);
    let kind: i32 = ctx.arg(1);
    let proto: i32 = ctx.arg(2);
    let expressible = match family {
        1 => true,
        2 | 10 => expressible(kind as u32, proto as u32),
        16 => proto == 0, // NETLINK_ROUTE
        _ => false,
    };
    let raw = subject.may(RAW_SOCKET);
    if (expressible || raw) && subject.barred.is_none() {
        return 0;
    }
    emit::outcome(refuse_family(&subject, Action::Socket, family as u16, kind as u16), EPERM)
}
