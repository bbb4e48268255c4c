//! Events as they cross the ring buffers: a fixed header, and `path_len` bytes of path that end the entry. Of a call that Landlock
//! refused these are the directory that the path starts from (`?` if unknown), a null byte, and the path as asked.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the ring for denials.
pub const DENIALS_RING_BYTES: u32 = 4 << 20;
/// Bytes of the ring for everything else.
pub const EVENTS_RING_BYTES: u32 = 8 << 20;
/// Longest path in an event; longer paths are denied as unresolvable.
pub const MAX_PATH: usize = 4096;

/// What was asked, or what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Action {
    /// Open of a file (`access` says for what).
    Open = 1,
    /// Execution of a program (checked).
    Exec = 2,
    /// Connect or send to an address.
    Connect = 3,
    /// Bind of a local address.
    Bind = 4,
    /// Creation of a socket.
    Socket = 5,
    /// Packets of an open socket were cut.
    Egress = 6,
    /// A task was forked: `other_pid`, `other_tid` are the child's.
    Fork = 7,
    /// A program was executed (it happened; `path` is the executable).
    Executed = 8,
    /// A task exited; `detail` is the exit code.
    Exit = 9,
    /// A task was killed by a revoke or expiry.
    Kill = 10,
    /// Create, delete, link, rename, attribute change: `access` says which right was needed.
    Path = 11,
    /// A privileged operation; `detail` is the privilege bit.
    Privilege = 12,
    /// Use of an object that was open already; `access` says how.
    Use = 13,
    /// Send or connect to a Unix socket.
    Unix = 14,
    /// Map or protect memory executable.
    MapExec = 15,
    /// Signal or trace of another process: `other_pid`.
    Signal = 16,
    Ptrace = 17,
    /// The task became a tool: `other_pid` and `other_tid` are slot and generation of its identity.
    Tool = 18,
    /// A task got its identity while it ran: `other_pid`, `other_tid`.
    Adopt = 19,
}

impl Action {
    /// The name used in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Exec => "exec",
            Self::Connect => "connect",
            Self::Bind => "bind",
            Self::Socket => "socket",
            Self::Egress => "egress",
            Self::Fork => "fork",
            Self::Executed => "executed",
            Self::Exit => "exit",
            Self::Kill => "kill",
            Self::Path => "path",
            Self::Privilege => "privilege",
            Self::Use => "use",
            Self::Unix => "unix",
            Self::MapExec => "map-exec",
            Self::Signal => "signal",
            Self::Ptrace => "ptrace",
            Self::Tool => "tool",
            Self::Adopt => "adopt",
        }
    }

    /// The action with wire value `raw`.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            1 => Self::Open,
            2 => Self::Exec,
            3 => Self::Connect,
            4 => Self::Bind,
            5 => Self::Socket,
            6 => Self::Egress,
            7 => Self::Fork,
            8 => Self::Executed,
            9 => Self::Exit,
            10 => Self::Kill,
            11 => Self::Path,
            12 => Self::Privilege,
            13 => Self::Use,
            14 => Self::Unix,
            15 => Self::MapExec,
            16 => Self::Signal,
            17 => Self::Ptrace,
            18 => Self::Tool,
            19 => Self::Adopt,
            _ => return None,
        })
    }
}

/// Header of every event. Times are nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct EventHeader {
    /// [`Action`].
    pub action: u16,
    /// [`crate::verdict::Decision`]; in audit mode the decision that would have been enforced.
    pub decision: u8,
    /// [`crate::verdict::Reason`].
    pub reason: u8,
    /// Positive errno the task saw; 0 when it was let through.
    pub errno: u16,
    /// Bytes of path at the end of the entry.
    pub path_len: u16,
    pub slot: u32,
    pub generation: u32,
    /// Per-invocation sequence number.
    pub seq: u64,
    pub time_ns: u64,
    /// Process (thread group) id, initial PID namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    pub parent_pid: u32,
    pub uid: u32,
    pub gid: u32,
    /// Modes wanted ([`crate::file::Access`]).
    pub access: u16,
    /// Modes of `access` that were not allowed.
    pub missing: u16,
    pub cgroup: u64,
    /// Generation of the policy that decided.
    pub policy: u32,
    pub policy_generation: u32,
    /// Exit code, privilege bit, or system call number, by action.
    pub detail: u32,
    pub other_pid: u32,
    pub other_tid: u32,
    /// Address family (`AF_INET`, `AF_INET6`), 0 if none.
    pub family: u16,
    pub port: u16,
    /// IPv6 words, most significant first, host order; IPv4 in the last word.
    pub address: [u32; 4],
    /// IP protocol.
    pub protocol: u16,
    /// Socket type or other small detail.
    pub socket_type: u16,
    /// [`crate::invocation::flags`] of the invocation.
    pub flags: u32,
    /// Task name (`comm`).
    pub comm: [u8; 16],
}

/// Bytes of the header on the wire.
pub const HEADER_BYTES: usize = size_of::<EventHeader>();
const _: () = assert!(HEADER_BYTES == 128);
