//! AgentGuard's control plane.

pub mod kernel;
pub mod policy;
