//! Counters of what went wrong in the kernel, by place. Every one of these outcomes is *closed*: the tagged task is
//! denied.

/// Places that count a failure. Indices of the per-CPU `COUNTERS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// No scratch buffer was free on this CPU.
    ScratchBusy = 0,
    /// A path was longer than the buffer.
    PathTooLong = 1,
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
    /// A path had more components, and mounts on the way, than are walked.
    PathTooDeep = 10,
    /// An object had no path to the root of the task's mount namespace: disconnected, or seen from another namespace.
    PathDisconnected = 11,
    /// A file system was mounted at more places than are looked at when attributes change.
    MountsTooMany = 12,
    /// The owner of a System V IPC object could not be noted.
    IpcOwnersFull = 13,
    /// A tool had no identity to run in.
    ToolUnknown = 14,
}

/// Number of counters.
pub const COUNTERS: u32 = 15;

impl Counter {
    /// All counters with the names that `doctor` and the metrics use.
    pub const NAMED: [(&'static str, Self); COUNTERS as usize] = [
        ("scratch_busy", Self::ScratchBusy),
        ("path_too_long", Self::PathTooLong),
        ("kernel_read", Self::KernelRead),
        ("tag_task", Self::TagTask),
        ("tag_socket", Self::TagSocket),
        ("denial_lost", Self::DenialLost),
        ("event_lost", Self::EventLost),
        ("stale_tag", Self::StaleTag),
        ("address_unreadable", Self::AddressUnreadable),
        ("process_index_full", Self::ProcessIndexFull),
        ("path_too_deep", Self::PathTooDeep),
        ("path_disconnected", Self::PathDisconnected),
        ("mounts_too_many", Self::MountsTooMany),
        ("ipc_owners_full", Self::IpcOwnersFull),
        ("tool_unknown", Self::ToolUnknown),
    ];
}
