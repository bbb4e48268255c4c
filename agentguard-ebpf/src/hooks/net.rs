//! Addresses: the one decision about them, and the cgroup hooks (both levels). The hooks of level `lsm` are in
//! hooks/socket.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::null_mut;

use agentguard_common::counter::Counter;
use agentguard_common::event::Action;
use agentguard_common::invocation::Tag;
use agentguard_common::net::{self, Address, IPPROTO_TCP, NetFacts, NetOp};
use agentguard_common::policy::privilege::RAW_SOCKET;
use agentguard_common::verdict::{Reason, Verdict};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE};
use aya_ebpf::helpers::generated::{bpf_sk_fullsock, bpf_sk_storage_get};
use aya_ebpf::macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SkBuffContext, SockAddrContext, SockContext};

use crate::emit::{self, EPERM};
use crate::maps::{Arena, CONTROL, SOCKET_TAG, count};
use crate::subject::{Subject, now, policy_in_force};

pub(super) const AF_UNSPEC: u16 = 0;
pub(super) const AF_UNIX: u16 = 1;
pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
const IPPROTO_MPTCP: u32 = 262;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_UDPLITE: u32 = 136;
const ALLOW: i32 = 1;
const REFUSE: i32 = 0;

/// Multipath TCP is TCP to the rules; other protocol numbers fit a byte.
#[inline(always)]
pub(super) const fn protocol(raw: u32) -> u8 {
    if raw == IPPROTO_MPTCP { IPPROTO_TCP } else { raw as u8 }
}

/// Whether rules can say, and hooks can see, where sockets of this type and protocol talk to. SCTP adds peers by socket
/// options, and ping sockets send without the cgroup hooks.
#[inline(always)]
pub(super) const fn expressible(kind: u32, protocol: u32) -> bool {
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
pub(super) fn stopped(tag: Tag, facts: &NetFacts) -> bool {
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
    // SAFETY: null or a live map value; a version is written before it is referred to, and then only made vacant.
    let policy = unsafe { subject.policy.as_ref() };
    let verdict = match (subject.barred, Arena::get(), policy) {
        (Some(reason), ..) => Verdict::deny(reason),
        (None, Some(arena), Some(policy)) => net::decide(&arena, policy, &request.facts()),
        _ => Verdict::deny(Reason::Internal),
    };
    if emit::is_wanted(&subject, verdict) {
        record_address(request, verdict.packed());
    }
    i32::from(subject.stops(verdict))
}

/// Whether the policy of `slot` allows a connection to an IPv4 address (host order), with the rest of the question in a
/// `port_key`, and nothing is to be recorded of that. Everything else is for [`decide_address`], which decides the same.
#[inline(never)]
#[unsafe(no_mangle)]
pub(super) extern "C" fn allows_v4(slot: u32, generation: u32, address: u32, key: u32) -> i32 {
    let Some(policy) = policy_in_force(Tag { slot, generation }) else { return 0 };
    // SAFETY: a live map value; a version is written before it is referred to, and then only made vacant.
    let policy = unsafe { &*policy };
    let Some(arena) = Arena::get() else { return 0 };
    let address = Address::v4(address, NetOp::Connect);
    let allowed = net::decide_key(&arena, policy, address, key).is_allow();
    i32::from(allowed && !policy.records_allowed())
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn record_address(request: *const Request, verdict: u32) -> i32 {
    // SAFETY: null or a caller's live `Request`.
    let Some(request) = (unsafe { request.as_ref() }) else { return 0 };
    let (subject, verdict) = (Subject::of(request.tag), Verdict::unpacked(verdict));
    let action = if request.op == NetOp::Bind as u32 { Action::Bind } else { Action::Connect };
    let mut event = MaybeUninit::uninit();
    let event = emit::fill(&mut event, &subject, action, verdict);
    event.protocol = request.protocol as u16;
    event.port = request.port as u16;
    event.family = request.family as u16;
    event.address = request.address;
    event.errno = if subject.stops(verdict) { EPERM } else { 0 };
    let ring = emit::ring_for(&subject, verdict);
    emit::plain(&subject, ring, event);
    0
}

/// A global function's answer. Through memory, or the compiler would compute what the program returns from a number
/// of which the verifier knows nothing.
#[inline(always)]
pub(super) fn answer(refused: i32) -> bool {
    core::hint::black_box(refused) != 0
}

/// Refuses and records a socket or address that rules cannot express. True when the task is stopped.
#[inline(always)]
pub(super) fn refuse_family(subject: &Subject, action: Action, family: u16, socket_type: u16) -> bool {
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
    let mut event = MaybeUninit::uninit();
    let event = emit::fill(&mut event, &subject, Action::Socket, verdict);
    event.action = action as u16;
    event.family = family as u16;
    event.socket_type = socket_type as u16;
    event.errno = if stops { EPERM } else { 0 };
    let ring = emit::ring_for(&subject, verdict);
    emit::plain(&subject, ring, event);
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

/// Marks a socket as `tag`'s. False when the kernel had no memory for it.
///
/// # Safety
/// `sk` is a socket pointer that the verifier accepts.
#[inline(always)]
pub(super) unsafe fn own(sk: *mut c_void, tag: Tag) -> bool {
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

/// Whether the packet belongs to a socket of a revoked or expired owner; what an invocation sent before it ended by
/// itself goes out. An idle host pays one map read.
#[inline(always)]
fn is_cut(ctx: &SkBuffContext) -> bool {
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    // SAFETY: a live map value.
    let from = unsafe { core::ptr::read_volatile(&raw const (*control).cut_from_ns) };
    if from == u64::MAX {
        return false;
    }
    let skb = ctx.as_ptr().cast::<__sk_buff>();
    // SAFETY: the context is valid for the program's run; both socket pointers are checked for null.
    let sk = unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return false;
        }
        bpf_sk_fullsock(sk)
    };
    // The owner first: most sockets have none, which costs less to see than the time.
    !sk.is_null() && owner(sk.cast()).is_some_and(|tag| now() >= from && Subject::of(tag).is_cut())
}

#[cgroup_skb(egress)]
pub fn cgroup_egress(ctx: SkBuffContext) -> i32 {
    if is_cut(&ctx) { REFUSE } else { ALLOW }
}

/// Nothing more is delivered either. The sender learns no more than from a network that lost the packet.
#[cgroup_skb(ingress)]
pub fn cgroup_ingress(ctx: SkBuffContext) -> i32 {
    if is_cut(&ctx) { REFUSE } else { ALLOW }
}
