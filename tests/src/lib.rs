//! Integration tests of AgentGuard.
