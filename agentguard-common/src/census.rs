//! The census: one record for each live tagged task, as the kernel's task iterator writes it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::invocation::Tag;

/// Flags of a task.
pub mod flags {
    /// Stopped by a signal or by a tracer: it runs nothing until somebody continues it.
    pub const STOPPED: u32 = 1;
    /// Made by the kernel to work for io_uring; `tasks` of an invocation does not count it.
    pub const WORKER: u32 = 1 << 1;
    /// Runs in the memory of the thread that made it, which waits in the kernel until this one executes a program or ends.
    pub const VFORKED: u32 = 1 << 2;
    /// Ends: its exit may be counted already, or not yet.
    pub const EXITING: u32 = 1 << 3;
}

/// A tagged task that is not dead. Ids are those of the reader's PID namespace.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct Tagged {
    pub tag: Tag,
    /// Thread.
    pub tid: u32,
    /// Process.
    pub tgid: u32,
    /// The thread that made it, or whoever took its place; 0 outside the namespace.
    pub parent_tid: u32,
    /// [`flags`].
    pub flags: u32,
}

/// Bytes of a record.
pub const TAGGED_BYTES: usize = size_of::<Tagged>();
const _: () = assert!(TAGGED_BYTES == 24);

impl Tagged {
    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn is(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }
}
