//! Level `lsm`: System V IPC. Objects that the invocation made are its own; others need a privilege.

use agentguard_common::counter::Counter;
use agentguard_common::event::Action;
use agentguard_common::invocation::Tag;
use agentguard_common::policy::privilege;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::privilege::demand_as;
use crate::emit::ENOMEM;
use crate::maps::{IPC_OWNER, count};
use crate::subject::{Subject, current_tag};

/// Notes whose the new object is. One that cannot be noted is not made.
#[inline(always)]
fn made(object: usize) -> i32 {
    let Some(tag) = current_tag() else { return 0 };
    let noted: Result<(), i32> = IPC_OWNER.insert(object as u64, tag, 0);
    if noted.is_ok() {
        return 0;
    }
    count(Counter::IpcOwnersFull);
    -ENOMEM
}

macro_rules! ipc_hooks {
    ($($make:literal $made:ident, $free:literal $freed:ident;)*) => {$(
        #[lsm(hook = $make)]
        pub fn $made(ctx: LsmContext) -> i32 {
            made(ctx.arg::<*const u8>(0) as usize)
        }

        #[lsm(hook = $free)]
        pub fn $freed(ctx: LsmContext) -> i32 {
            let object = ctx.arg::<*const u8>(0) as u64;
            let _ = IPC_OWNER.remove(&object); // most objects of the host are nobody's
            0
        }
    )*};
}

ipc_hooks! {
    "shm_alloc_security" shm_made, "shm_free_security" shm_freed;
    "msg_queue_alloc_security" msg_made, "msg_queue_free_security" msg_freed;
    "sem_alloc_security" sem_made, "sem_free_security" sem_freed;
}

/// Every use of an object that exists.
#[lsm(hook = "ipc_permission")]
pub fn ipc_permission(ctx: LsmContext) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    let object = ctx.arg::<*const u8>(0) as u64;
    let owner: Option<&Tag> = IPC_OWNER.get_ptr(object).and_then(|tag| {
        // SAFETY: a live map value; tags are written once.
        unsafe { tag.as_ref() }
    });
    if subject.barred.is_none() && owner.is_some_and(|tag| *tag == subject.tag) {
        return 0;
    }
    demand_as(Action::Privilege, privilege::IPC_OTHERS)
}
