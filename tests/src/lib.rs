//! Integration tests of AgentGuard: a harness, and the tests in `tests/`, which judge the `agentguard` binary from
//! outside. They run as root; the same compiled tests run natively at level `compat` and in a virtual machine at
//! level `lsm`.
//!
//! | variable | meaning |
//! |---|---|
//! | `AGENTGUARD_BIN` | the binary under test; `target/release/agentguard` by default |
//! | `AGENTGUARD_LEVEL` | the level that must be in force: `compat` (default) or `lsm` |
//! | `AGENTGUARD_SERVED` | the home of a daemon for all tests that share one: set by `agentguard-served` |
//!
//! Nothing here sleeps: every wait has a condition and a deadline. A test that does not apply to a level prints
//! `SKIPPED: name: why`.

pub mod agent;
pub mod api;
pub mod cgroup;
pub mod daemon;
pub mod events;
pub mod herd;
pub mod level;
pub mod loopback;
pub mod policy;
pub mod process;
pub mod puppet;
pub mod site;
pub mod tail;

pub use level::Level;
pub use policy::Policy;
pub use site::Site;
