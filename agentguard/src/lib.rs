//! AgentGuard's control plane.

pub mod launch;
pub mod policy;
