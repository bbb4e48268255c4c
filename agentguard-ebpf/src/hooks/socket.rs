//! Level `lsm`: sockets and addresses, over the tables and the decision of hooks/net.

use agentguard_common::counter::Counter;
use agentguard_common::event::Action;
use agentguard_common::file::Access;
use agentguard_common::invocation::Tag;
use agentguard_common::net::{Address, IPPROTO_TCP, NetFacts, NetOp, port_key};
use agentguard_common::policy::privilege::RAW_SOCKET;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::net::{
    AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC, allows_v4, answer, expressible, own, protocol, refuse_family,
    stopped,
};
use super::open::{noticed, refuse_socket};
use super::routes::decide_controls;
use crate::emit::{self, EPERM};
use crate::maps::count;
use crate::subject::{Subject, current_tag, policy_in_force};
use crate::{kread, member, offset};

const AF_NETLINK: u16 = 16;

/// Level `lsm`: a new socket gets its owner. A socket that cannot be owned is not made.
#[lsm(hook = "socket_post_create")]
pub fn socket_post_create(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(5);
    if earlier != 0 {
        return earlier;
    }
    let Some(tag) = current_tag() else { return 0 };
    // SAFETY: a trusted `struct socket *`.
    let sk = unsafe { member!(ctx.arg(0), socket_sk: *mut u8) };
    if sk.is_null() {
        return 0; // nothing to send with
    }
    // SAFETY: a trusted `struct sock *`, checked for null.
    emit::outcome(!unsafe { own(sk.cast(), tag) }, EPERM)
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

/// Bytes of an IPv4 address that are read.
const V4_BYTES: u32 = 8;

/// Whether a connection to an IPv4 address is allowed, and nothing is to be recorded of that.
///
/// # Safety
/// The verifier knows `sock` as a `struct socket *`, and `address` as a `struct sockaddr *`; both are trusted.
#[inline(always)]
unsafe fn connects(tag: Tag, sock: *const u8, address: *const u8) -> bool {
    // SAFETY: by contract; the `struct sock *` is checked for null.
    unsafe {
        let sk = member!(sock, socket_sk: *const u8);
        if sk.is_null() || !matches!(member!(sk, sk_family: u16), AF_INET | AF_INET6) {
            return false;
        }
        let protocol = protocol(u32::from(member!(sk, sk_protocol: u16)));
        let (port, v4) = (kread::member::<u16>(address, 2), kread::member::<u32>(address, 4));
        let key = port_key(NetOp::Connect, protocol, u16::from_be(port));
        answer(allows_v4(tag.slot, tag.generation, u32::from_be(v4), key))
    }
}

/// Reads a socket address and decides. `sock` is a `struct socket *`, `addr` a kernel copy of the address.
#[inline(always)]
fn lsm_address(subject: &Subject, op: NetOp, sock: *const u8, addr: usize, len: u32) -> i32 {
    // SAFETY: a trusted `struct socket *`.
    let sk = unsafe { member!(sock, socket_sk: *const u8) };
    if sk.is_null() {
        return emit::outcome(refuse_family(subject, Action::Connect, 0, 0), EPERM);
    }
    // SAFETY: a trusted `struct sock *`, checked for null.
    let (sk_family, protocol_number) =
        unsafe { (member!(sk, sk_family: u16), member!(sk, sk_protocol: u16)) };
    if sk_family == AF_UNIX {
        // Whom it reaches is asked once the kernel has found the peer: hooks/unix.
        let barred = subject.barred.is_some();
        return emit::outcome(barred && refuse_family(subject, Action::Unix, AF_UNIX, 0), EPERM);
    }
    let Some(raw) = kread::read::<RawAddress>(addr) else {
        count(Counter::AddressUnreadable);
        return emit::outcome(refuse_family(subject, Action::Connect, 0, 0), EPERM);
    };
    // A datagram socket takes AF_UNSPEC for AF_INET when sending.
    let family = if raw.family == AF_UNSPEC && sk_family == AF_INET { AF_INET } else { raw.family };
    let address = match family {
        AF_INET if len >= V4_BYTES => Address::v4(u32::from_be(raw.v4), op),
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
    let Some(tag) = current_tag() else { return 0 };
    let (address, len) = (ctx.arg::<*const u8>(1), ctx.arg::<i32>(2) as u32);
    // SAFETY: a trusted `struct sockaddr *`, which begins with the family.
    let family = unsafe { kread::member::<u16>(address, 0) };
    // SAFETY: a trusted `struct socket *`, and a trusted `struct sockaddr *` of that family.
    if family == AF_INET && len >= V4_BYTES && unsafe { connects(tag, ctx.arg(0), address) } {
        return 0;
    }
    let subject = Subject::of(tag);
    if family == AF_UNSPEC && subject.barred.is_none() {
        return 0; // disconnects, whatever else the address holds
    }
    lsm_address(&subject, NetOp::Connect, ctx.arg(0), address as usize, len)
}

#[lsm(hook = "socket_bind")]
pub fn socket_bind(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let sock = ctx.arg::<*const u8>(0);
    let sk = kread::word(sock as usize + offset!(socket_sk));
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
    let bound = kread::value::<u16>(sk + offset!(sk_num)) != 0;
    if bound || (family != AF_INET && family != AF_INET6) {
        return 0;
    }
    let address = if family == AF_INET6 { Address::V6([0; 4]) } else { Address::V4(0) };
    let facts = NetFacts { op: NetOp::Bind, protocol: IPPROTO_TCP, port: 0, address };
    emit::outcome(stopped(subject.tag, &facts), EPERM)
}

/// Sends with an explicit destination (unconnected UDP, TCP Fast Open), and any send of a revoked invocation.
#[lsm(hook = "socket_sendmsg")]
pub fn socket_sendmsg(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let Some(subject) = current_tag().map(Subject::of) else { return 0 };
    let sock = ctx.arg::<*const u8>(0);
    let message = ctx.arg::<*const u8>(1);
    // SAFETY: a trusted `struct msghdr *` and a trusted `struct socket *`.
    let (name, len, sk) = unsafe {
        (
            member!(message, msghdr_name: u64) as usize,
            member!(message, msghdr_namelen: u32),
            member!(sock, socket_sk: *const u8),
        )
    };
    let family = if sk.is_null() {
        None
    } else {
        // SAFETY: a trusted `struct sock *`, checked for null.
        Some(unsafe { member!(sk, sk_family: u16) })
    };
    let addressed = name != 0 && len != 0 && family != Some(AF_NETLINK);
    if subject.barred.is_some() {
        if !addressed {
            return refuse_socket(subject.tag, sk as usize, Access::WRITE);
        }
        if noticed(subject.tag, sk as usize, Access::WRITE).is_none() {
            return emit::outcome(true, EPERM);
        }
    }
    // SAFETY: a trusted `struct msghdr *`.
    let refused = unsafe { decide_controls(message) };
    if refused != 0 {
        return refused;
    }
    if !addressed {
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
    if kernel != 0 {
        return 0;
    }
    let Some(tag) = current_tag() else { return 0 };
    let family: i32 = ctx.arg(0);
    let kind: i32 = ctx.arg(1);
    let proto: i32 = ctx.arg(2);
    let expressible = match family {
        1 => true,
        2 | 10 => expressible(kind as u32, proto as u32),
        16 => proto == 0, // NETLINK_ROUTE
        _ => false,
    };
    if expressible && policy_in_force(tag).is_some() {
        return 0;
    }
    let subject = Subject::of(tag);
    if subject.may(RAW_SOCKET) {
        return 0;
    }
    emit::outcome(refuse_family(&subject, Action::Socket, family as u16, kind as u16), EPERM)
}
