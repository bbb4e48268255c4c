//! Level `lsm`: who is at the other end of a Unix socket. Own sockets are, others need a rule on their path or name.

use agentguard_common::event::Action;
use agentguard_common::file::Access;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use core::ffi::c_void;

use super::file::{check, check_name};
use super::net::{AF_UNIX, owner, refuse_socket};
use crate::subject::{Subject, current_tag};
use crate::{kread, member, offset};

/// `sockaddr_un.sun_family`.
const FAMILY_BYTES: u32 = 2;

/// Decides that the current task reaches the socket `peer`.
#[inline(always)]
fn reach(peer: *mut c_void) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    if subject.barred.is_none() && owner(peer).is_some_and(|tag| tag == subject.tag) {
        return 0;
    }
    let at = peer as usize + offset!(unix_sock_path);
    let dentry = kread::word(at + offset!(path_dentry));
    if dentry != 0 {
        return check(Action::Unix, dentry, kread::word(at + offset!(path_mnt)), Access::CONNECT);
    }
    let address = kread::word(peer as usize + offset!(unix_sock_addr));
    let len = kread::value::<u32>(address + offset!(unix_address_len));
    if len > FAMILY_BYTES {
        let name = address + offset!(unix_address_name) + FAMILY_BYTES as usize + 1;
        return check_name(Action::Unix, name, len - FAMILY_BYTES - 1, Access::CONNECT);
    }
    refuse_socket(&subject, Action::Unix, AF_UNIX) // it has no name that a rule could say
}

/// Streams and sequenced packets.
#[lsm(hook = "unix_stream_connect")]
pub fn unix_stream_connect(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    reach(ctx.arg(1))
}

/// Datagrams: when connected, and each time one is sent.
#[lsm(hook = "unix_may_send")]
pub fn unix_may_send(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: a trusted `struct socket *`.
    let sk = unsafe { member!(ctx.arg(1), socket_sk: *mut u8) }.cast::<c_void>();
    if sk.is_null() {
        return 0; // its owner is closing it
    }
    reach(sk)
}

/// Binding of abstract names. Paths are made by `mknod`, which has a hook, and a name that the kernel chooses harms nobody.
#[lsm(hook = "socket_bind")]
pub fn unix_bind(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    if current_tag().is_none() {
        return 0;
    }
    let sk = kread::word(ctx.arg::<*const u8>(0) as usize + offset!(socket_sk));
    if kread::value::<u16>(sk + offset!(sk_family)) != AF_UNIX {
        return 0;
    }
    let (address, len) = (ctx.arg::<*const u8>(1) as usize, ctx.arg::<i32>(2) as u32);
    let first = kread::value::<u8>(address + FAMILY_BYTES as usize);
    if len <= FAMILY_BYTES || first != 0 {
        return 0;
    }
    let name = address + FAMILY_BYTES as usize + 1;
    check_name(Action::Unix, name, len - FAMILY_BYTES - 1, Access::CREATE)
}
