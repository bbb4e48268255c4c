//! Attacks: ways for an agent to read, change, execute, move, send or signal what its policy does not allow.
//!
//! Each attack is one file in `attacks/`. It is run twice as the same user: first without AgentGuard, where it must
//! succeed, since an attack that can't succeed anyway proves nothing; then as an agent, where it must be refused and
//! recorded. `tests/tests/corpus.rs` does that for every attack, as root and as an unprivileged user, at both levels.

pub mod attacks;
pub mod scene;
pub mod sys;

pub use scene::Scene;

/// What an attack goes for; a heading of the generated table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    Files,
    Moving,
    Exec,
    Privilege,
    Processes,
    Network,
    UnixSockets,
    IoUring,
    Protection,
}

impl Group {
    /// The heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Files => "Files",
            Self::Moving => "Moving and linking",
            Self::Exec => "Execution",
            Self::Privilege => "Privileges",
            Self::Processes => "Other processes",
            Self::Network => "Network",
            Self::UnixSockets => "Unix sockets",
            Self::IoUring => "io_uring",
            Self::Protection => "AgentGuard itself",
        }
    }
}

/// Who can make an attack succeed where there is no AgentGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Anyone,
    /// The kernel refuses it to unprivileged users by itself.
    Root,
}

/// What level `compat` makes of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// Refused by Landlock, by the cgroup hooks, or for want of a capability.
    Stopped,
    /// Goes through: why, in plain words for the documentation.
    Open(&'static str),
    /// Refused to some, depending on the kernel or the user: what, in plain words. Nothing is asserted.
    Depends(&'static str),
}

/// What the refusal leaves in the evidence at level `lsm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A denial with one of these actions (`open`, `exec`, `path`, `connect`, `bind`, `socket`, `unix`, `privilege`,
    /// `signal`, `ptrace`, `map-exec`, `use`, `control`).
    As(&'static [&'static str]),
    /// Nothing: why.
    Not(&'static str),
}

/// One attack.
#[derive(Debug)]
pub struct Attack {
    /// Unique, lower case with hyphens; the name of its file with underscores.
    pub name: &'static str,
    pub group: Group,
    /// One sentence for the table: what the agent tries.
    pub tries: &'static str,
    pub who: Who,
    pub compat: Compat,
    pub recorded: Recorded,
    /// Makes the attack and verifies its effect.
    pub run: fn(&Scene) -> Result<(), Stop>,
}

/// Why an attack had no effect.
#[derive(Debug)]
pub enum Stop {
    /// A step was refused with this error number.
    Refused { step: &'static str, errno: i32 },
    /// The kernel or the machine lacks what the attack needs.
    Absent(String),
}

impl Stop {
    /// The kernel or the machine lacks `what`.
    pub fn absent(what: impl Into<String>) -> Self {
        Self::Absent(what.into())
    }
}

impl From<nix::errno::Errno> for Stop {
    fn from(errno: nix::errno::Errno) -> Self {
        Self::Refused { step: "", errno: errno as i32 }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        // An error without a number is a failure of the attack's own: no refusal has number 0.
        Self::Refused { step: "", errno: error.raw_os_error().unwrap_or(0) }
    }
}

/// Names the step that failed.
pub trait Step<T> {
    /// Says which step an error comes from.
    ///
    /// # Errors
    /// The same, named.
    fn step(self, step: &'static str) -> Result<T, Stop>;
}

impl<T, E: Into<Stop>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Stop> {
        self.map_err(|e| match e.into() {
            Stop::Refused { step: "", errno } => Stop::Refused { step, errno },
            other => other,
        })
    }
}

/// Fails when what an attack read or changed is not what it was after: then it had no effect, and nobody refused it.
///
/// # Errors
/// With error number 0, which no refusal has.
pub fn verify(effect: bool, what: &'static str) -> Result<(), Stop> {
    if effect { Ok(()) } else { Err(Stop::Refused { step: what, errno: 0 }) }
}
