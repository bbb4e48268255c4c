//! Policies and presets that come with the binary.

const PRESETS: &[(&str, &str)] = &[
    ("base", include_str!("../../../policies/presets/base.yaml")),
    ("shell", include_str!("../../../policies/presets/shell.yaml")),
    ("compiler", include_str!("../../../policies/presets/compiler.yaml")),
    ("git", include_str!("../../../policies/presets/git.yaml")),
    ("python", include_str!("../../../policies/presets/python.yaml")),
    ("node", include_str!("../../../policies/presets/node.yaml")),
    ("rust", include_str!("../../../policies/presets/rust.yaml")),
];

const POLICIES: &[(&str, &str)] = &[
    ("coding-agent", include_str!("../../../policies/coding-agent.yaml")),
    ("support-runner", include_str!("../../../policies/support-runner.yaml")),
    ("read-only-auditor", include_str!("../../../policies/read-only-auditor.yaml")),
    ("build-runner", include_str!("../../../policies/build-runner.yaml")),
];

fn find(table: &'static [(&str, &str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// Text of a shipped complete policy.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static str> {
    find(POLICIES, name)
}

/// Names of the shipped complete policies.
#[must_use]
pub fn builtin_names() -> Vec<&'static str> {
    POLICIES.iter().map(|(name, _)| *name).collect()
}

/// Text of a preset for `include:`.
pub(super) fn preset(name: &str) -> Option<&'static str> {
    find(PRESETS, name)
}

pub(super) fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}
