//! What enforcement costs the enforced, as ratios to the same work with nothing loaded.

mod enforce;
mod native;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// In one boot of a virtual machine that counts instructions, at level lsm: nothing loaded, untagged, tagged with
    /// policies of 10 to 10,000 rules, in audit mode, and under other Linux security modules.
    Enforce {
        /// Kernel series of the machine: newest, 6.12 or 6.1.
        #[arg(long, default_value = "6.12")]
        kernel: String,
    },
    /// Here, in nanoseconds, at level compat.
    Native,
}

impl Bench {
    pub(crate) fn run(&self, binary: &Path) -> Result<()> {
        match self {
            Self::Enforce { kernel } => enforce::run(binary, &super::guest_kernel(kernel)?),
            Self::Native => native::run(binary),
        }
    }
}

/// The program that puts the work under its conditions.
fn program() -> Result<PathBuf> {
    let build =
        ["build", "--quiet", "--release", "--package", "agentguard-tests", "--bin", "agentguard-bench"];
    crate::run(&mut crate::cargo(&build))?;
    Ok(crate::root().join("target/release/agentguard-bench"))
}
