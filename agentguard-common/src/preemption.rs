//! The trial that shows whether another task can run while a kernel program does.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Longest that the program waits to be interrupted, in nanoseconds.
pub const PATIENCE_NS: u64 = 20_000_000;

/// What came of a trial.
pub mod outcome {
    /// The program did not run.
    pub const NONE: u64 = 0;
    /// It ran for all of [`super::PATIENCE_NS`], and nothing else ran on its processor.
    pub const WHOLE: u64 = 1;
    /// Another thread of the same processor ran before it was over.
    pub const INTERRUPTED: u64 = 2;
}

/// Value of the one-entry `TRIAL` map, which the program, the thread it runs in and the one that interrupts it share.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Trial {
    /// Name (`comm`) of the thread whose fork the program waits in; no other thread's.
    pub name: [u64; 2],
    /// 1 while the program waits. Whoever sees it on the same processor has interrupted the program.
    pub waits: u64,
    /// Set by who saw it.
    pub seen: u64,
    /// [`outcome`].
    pub outcome: u64,
}
