//! Helpers of this module's tests.

use std::time::Duration;

use agentguard_common::file::Access;

use crate::policy::model::{Effect, Environment, FileRule, Mode, Policy, RuleSource};

/// Runs `body` in a forked child and fails unless it returned true, so that the test process keeps its rights.
pub(crate) fn in_child(body: impl FnOnce() -> bool) {
    // SAFETY: the child runs only `body` and `_exit`; the allocator's locks are handled by glibc's fork.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        // A panic must not unwind into the harness, which would go on as a second process.
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
        // SAFETY: ends the child at once, without running the parent's exit handlers.
        unsafe { libc::_exit(i32::from(!ok)) }
    }
    let mut status = 0;
    // SAFETY: `pid` is our child and `status` is valid for the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "child failed: {status:#x}");
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A policy with these file rules.
pub(crate) fn policy(rules: &[(Effect, &str, Access)]) -> Policy {
    let source = |line| RuleSource { document: "test".into(), line, reason: None };
    let rule = |(i, (effect, glob, access)): (usize, &(Effect, &str, Access))| FileRule {
        effect: *effect,
        glob: (*glob).to_owned(),
        access: *access,
        source: source(i as u32 + 1),
    };
    Policy {
        name: "test".into(),
        digest: String::new(),
        mode: Mode::Enforce,
        ttl: Some(Duration::from_secs(60)),
        max_ttl: Some(Duration::from_secs(60)),
        subjects: None,
        log_allowed: false,
        files: rules.iter().enumerate().map(rule).collect(),
        network: Vec::new(),
        environment: Environment::default(),
        privileges: 0,
        tools: Vec::new(),
    }
}
