//! Tasks that get their identity while they run: the tree below a process that is adopted, and what lives in a cgroup
//! that is selected.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::invocation::Tag;

/// Cgroups that can be selected at a time.
pub const MAX_SELECTORS: u32 = 4096;
/// Processes of a tree whose parent may end while the tree is adopted.
pub const MAX_ORPHANS: u32 = 16_384;

/// What is done about a tree.
pub mod mode {
    pub const OFF: u32 = 0;
    /// It is looked at.
    pub const LOOK: u32 = 1;
    /// Its tasks are tagged: by the iterator as they are found, by the hooks as they fork, execute or end.
    pub const TAG: u32 = 2;
    /// Tasks are tagged by the iterator that are in selected cgroups, as the hooks do it.
    pub const CGROUP: u32 = 3;
}

/// A process, whatever becomes of its number.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct Process {
    pub pid: u32,
    pub reserved: u32,
    /// When its first thread began, in nanoseconds of `CLOCK_BOOTTIME`.
    pub started_ns: u64,
}

/// Value of the one-entry `ENROLMENT` map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Enrolment {
    /// Entries of `SELECTORS`. Read first: an idle host pays no more.
    pub selectors: u32,
    /// [`mode`] of the adoption that is under way.
    pub mode: u32,
    /// What the tree is to be.
    pub tag: Tag,
    /// Its first process. While it is only looked at, any start time is taken, and noted here.
    pub root: Process,
    /// Moves of tasks between cgroups while some were selected. Never set back.
    pub moves: u64,
    /// The kernel's counts; the daemon sets them to 0.
    pub counts: Counts,
}

/// What the kernel found.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// Tasks that were tagged.
    pub tagged: u64,
    /// Processes whose parent ended meanwhile.
    pub orphans: u64,
    /// Tasks of the tree that belong to another invocation.
    pub foreign: u64,
    /// Tasks of the tree that are the kernel's own.
    pub kernel: u64,
    /// Tasks that may belong to the tree and were not tagged: no memory, a lineage too long, too many orphans.
    pub failed: u64,
}

const _: () = assert!(size_of::<Enrolment>() == 40 + 40);

/// Values of `TASK_ENROLLED`: how a task that was tagged while it ran is counted. Whoever comes second, the one who tags
/// it or its own end, sees what the first did.
pub mod counted {
    /// Nobody has come.
    pub const NOT: u64 = 0;
    /// It is one of its invocation's tasks.
    pub const YES: u64 = 1;
    /// It ended first.
    pub const GONE: u64 = 2;
}
