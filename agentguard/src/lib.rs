//! AgentGuard's control plane.

// They abort where the output can't be written; see `cli::output`.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod cli;
pub mod clock;
pub mod daemon;
pub mod event;
pub mod kernel;
pub mod launch;
pub mod policy;
