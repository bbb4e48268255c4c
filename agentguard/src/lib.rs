//! AgentGuard's control plane.

pub mod cli;
pub mod clock;
pub mod daemon;
pub mod event;
pub mod kernel;
pub mod launch;
pub mod policy;
