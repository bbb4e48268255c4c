//! The header of a compiled policy in the `POLICIES` map. Its tables live in the `ARENA` map.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries of the `POLICIES` map. Entry 0 is never used, so that a zeroed reference denies.
pub const MAX_POLICIES: u32 = 16_384;
/// 32-bit words in the arena (32 MiB). A power of two: the kernel masks every index with it.
pub const ARENA_WORDS: u32 = 1 << 23;

/// Tools of a policy at most: each run under it has an identity in waiting for each.
pub const MAX_TOOLS: u32 = 32;

/// Where a compiled policy's tables are. All `u32` positions are word indices into the arena, and lengths count
/// entries, not words.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct PolicyHeader {
    /// Identifies the compiled version. 0: vacant, which denies everything.
    pub generation: u32,
    /// [`flags`].
    pub flags: u32,
    /// 64 words: the class of each byte value.
    pub classes: u32,
    /// State rows ([`crate::file::STATE_WORDS`] words each).
    pub states: u32,
    pub states_len: u32,
    /// Comb entries ([`crate::file::COMB_WORDS`] words each).
    pub comb: u32,
    pub comb_len: u32,
    /// First state.
    pub start: u32,
    /// IPv4 address ranges ([`crate::net::RANGE4_WORDS`] words each), sorted, the first one starting at 0.
    pub net4: u32,
    pub net4_len: u32,
    /// IPv6 address ranges ([`crate::net::RANGE6_WORDS`] words each), sorted, the first one starting at `::`.
    pub net6: u32,
    pub net6_len: u32,
    /// Privileges granted: bits of [`privilege`].
    pub privileges: u32,
    /// Socket families that may be created beyond inet and unix: bit = address family number (0..=63).
    pub families_low: u32,
    pub families_high: u32,
    /// Words of all tables together, from the first one on. For the control plane.
    pub words: u32,
}

const _: () = assert!(size_of::<PolicyHeader>() == 64);

/// What a walk of the file rules needs of a header.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileTables {
    pub classes: u32,
    pub states: u32,
    pub comb: u32,
    pub start: u32,
}

impl PolicyHeader {
    /// The tables of the file rules.
    #[inline(always)]
    #[must_use]
    pub const fn file_tables(&self) -> FileTables {
        FileTables { classes: self.classes, states: self.states, comb: self.comb, start: self.start }
    }

    /// Whether what is allowed is to be recorded.
    #[inline(always)]
    #[must_use]
    pub const fn records_allowed(&self) -> bool {
        self.flags & flags::LOG_ALLOWED != 0
    }
}

/// Flags of a policy.
pub mod flags {
    /// Decide, record, but deny nothing.
    pub const AUDIT: u32 = 1;
    /// Record allowed operations too.
    pub const LOG_ALLOWED: u32 = 1 << 1;
    /// Some programs are tools.
    pub const TOOLS: u32 = 1 << 2;
}

/// Privileges a policy can grant, one bit each.
pub mod privilege {
    pub const MOUNT: u32 = 1;
    pub const USER_NAMESPACE: u32 = 1 << 1;
    pub const KERNEL_MODULE: u32 = 1 << 2;
    pub const BPF: u32 = 1 << 3;
    pub const PERF: u32 = 1 << 4;
    pub const PTRACE_OTHERS: u32 = 1 << 5;
    pub const SIGNAL_OTHERS: u32 = 1 << 6;
    pub const CHROOT: u32 = 1 << 7;
    pub const RAW_SOCKET: u32 = 1 << 8;
    pub const TERMINAL_INJECTION: u32 = 1 << 9;
    pub const CAPABILITIES: u32 = 1 << 10;
    pub const ANONYMOUS_EXEC: u32 = 1 << 11;
    pub const EXECUTABLE_MEMORY: u32 = 1 << 12;
    pub const KEYRING: u32 = 1 << 13;
    pub const IPC_OTHERS: u32 = 1 << 14;

    /// Each bit with the name that policies and events use.
    pub const NAMED: [(&str, u32); 15] = [
        ("mount", MOUNT),
        ("user-namespace", USER_NAMESPACE),
        ("kernel-module", KERNEL_MODULE),
        ("bpf", BPF),
        ("perf", PERF),
        ("ptrace-others", PTRACE_OTHERS),
        ("signal-others", SIGNAL_OTHERS),
        ("chroot", CHROOT),
        ("raw-socket", RAW_SOCKET),
        ("terminal-injection", TERMINAL_INJECTION),
        ("capabilities", CAPABILITIES),
        ("anonymous-exec", ANONYMOUS_EXEC),
        ("executable-memory", EXECUTABLE_MEMORY),
        ("keyring", KEYRING),
        ("ipc-others", IPC_OTHERS),
    ];

    /// Which privileges, any of them, let a task use a capability (number as in `linux/capability.h`); 0 for the
    /// ones that act on files, users and limits, which other rules and the kernel's own checks decide.
    #[inline(always)]
    #[must_use]
    pub const fn for_capability(capability: u32) -> u32 {
        match capability {
            13 => RAW_SOCKET | CAPABILITIES,                          // NET_RAW
            16 => KERNEL_MODULE | CAPABILITIES,                       // SYS_MODULE
            18 => CHROOT | CAPABILITIES,                              // SYS_CHROOT
            19 => PTRACE_OTHERS | CAPABILITIES,                       // SYS_PTRACE
            21 => MOUNT | CAPABILITIES,                               // SYS_ADMIN
            38 => PERF | BPF | CAPABILITIES,                          // PERFMON
            39 => BPF | CAPABILITIES,                                 // BPF
            8 | 9 | 11 | 12 | 17 | 20 | 22 | 25..=27 => CAPABILITIES, // SETPCAP .. MKNOD, without SYS_NICE, SYS_RESOURCE
            30..=37 | 40 => CAPABILITIES, // AUDIT_CONTROL .. AUDIT_READ, CHECKPOINT
            0..=40 => 0,
            _ => CAPABILITIES, // unknown to us, so not harmless
        }
    }
}
