//! Counters of what went wrong in the kernel, by place. Every one of these outcomes is *closed*: the tagged task is
//! denied.

/// Places that count a failure. Indices of the per-CPU `COUNTERS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// No scratch buffer was free on this CPU.
    ScratchBusy = 0,
    /// A path did not fit, was too deep, or was not connected to a root.
    PathUnresolvable = 1,
    /// A kernel read failed during a path walk.
    KernelRead = 2,
    /// The tag could not be put on a new task.
    TagTask = 3,
    /// The tag could not be put on a new socket.
    TagSocket = 4,
    /// A denial did not fit into its ring.
    DenialLost = 5,
    /// Another event did not fit into its ring.
    EventLost = 6,
    /// A tag named a slot that is stale, vacant or without a policy.
    StaleTag = 7,
    /// An address could not be read or has a family that no rule can express.
    AddressUnreadable = 8,
    /// The process index was full.
    ProcessIndexFull = 9,
}

/// Number of counters.
pub const COUNTERS: u32 = 10;

impl Counter {
    /// All counters with the names that `doctor` and the metrics use.
    pub const NAMED: [(&'static str, Self); COUNTERS as usize] = [
        ("scratch_busy", Self::ScratchBusy),
        ("path_unresolvable", Self::PathUnresolvable),
        ("kernel_read", Self::KernelRead),
        ("tag_task", Self::TagTask),
        ("tag_socket", Self::TagSocket),
        ("denial_lost", Self::DenialLost),
        ("event_lost", Self::EventLost),
        ("stale_tag", Self::StaleTag),
        ("address_unreadable", Self::AddressUnreadable),
        ("process_index_full", Self::ProcessIndexFull),
    ];
}
