//! AgentGuard's control plane.

pub mod policy;
