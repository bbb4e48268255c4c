//! The level under test, and how patient waits are at it.

use std::io::Write as _;
use std::time::Duration;

/// How long anything may take natively. Only reached when a test fails.
const DEADLINE: Duration = Duration::from_secs(20);
/// A guest without hardware virtualisation is this much slower.
const GUEST_FACTOR: u32 = 20;

/// An enforcement level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Compat,
    Lsm,
}

impl Level {
    /// The level that must be in force here.
    #[must_use]
    pub fn expected() -> Self {
        match std::env::var("AGENTGUARD_LEVEL").as_deref() {
            Err(_) | Ok("compat") => Self::Compat,
            Ok("lsm") => Self::Lsm,
            Ok(other) => panic!("AGENTGUARD_LEVEL={other:?} is no level: compat or lsm"),
        }
    }

    /// The name that the product uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compat => "compat",
            Self::Lsm => "lsm",
        }
    }
}

/// How long a wait may take before the test fails.
#[must_use]
pub fn deadline() -> Duration {
    match Level::expected() {
        Level::Compat => DEADLINE,
        Level::Lsm => DEADLINE * GUEST_FACTOR,
    }
}

/// Whether the test `name` only applies to another level than the one under test: `if skipped_unless(..) { return; }`.
#[must_use]
pub fn skipped_unless(level: Level, name: &str, why: &str) -> bool {
    let skipped = Level::expected() != level;
    if skipped {
        skip(name, why);
    }
    skipped
}

/// Says that a test was skipped, and why; `cargo xtask test` counts these lines. Not `println!`, which the test
/// runner swallows.
pub fn skip(name: &str, why: &str) {
    let line = format!("\nSKIPPED: {name}: {why}\n");
    let _ = std::io::stdout().write_all(line.as_bytes()); // nobody reads: nobody counts
}
