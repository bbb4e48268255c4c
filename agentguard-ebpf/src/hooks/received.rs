//! Level `lsm`: descriptors that come from another process. What the policy would not let the agent open it may not be
//! given either.

use core::ffi::c_void;

use agentguard_common::event::Action;
use agentguard_common::file::Access;
use aya_ebpf::helpers::generated::bpf_sock_from_file;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::file::{FMODE_READ, FMODE_WRITE, check_file};
use super::net::{owner, refuse_socket};
use crate::subject::Subject;
use crate::{kread, member, offset};

#[lsm(hook = "file_receive")]
pub fn file_receive(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let file: *mut c_void = ctx.arg(0);
    // SAFETY: a trusted `struct file *`.
    let socket = unsafe { bpf_sock_from_file(file.cast()) }.cast::<u8>();
    if !socket.is_null() {
        // SAFETY: a `struct socket *` from the helper, checked for null.
        let sk = unsafe { member!(socket.cast_const(), socket_sk: *mut u8) }.cast::<c_void>();
        let own =
            !sk.is_null() && subject.barred.is_none() && owner(sk).is_some_and(|tag| tag == subject.tag);
        if own {
            return 0;
        }
        let family = kread::value::<u16>(sk as usize + offset!(sk_family));
        return refuse_socket(&subject, Action::Use, family);
    }
    let mode = kread::read::<u32>(file as usize + offset!(file_mode)).unwrap_or(FMODE_READ | FMODE_WRITE);
    let mut want = Access::NONE;
    if mode & FMODE_READ != 0 {
        want = want.union(Access::READ);
    }
    if mode & FMODE_WRITE != 0 {
        want = want.union(Access::WRITE);
    }
    if want.is_empty() {
        return 0; // a path to open, and then it is asked
    }
    check_file(Action::Use, file as usize, want)
}
