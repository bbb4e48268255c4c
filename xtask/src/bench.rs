//! What enforcement costs the enforced, as ratios to the same work with nothing loaded, and how fast authority is taken.

mod costs;
mod enforce;
mod many;
mod native;
mod revoke;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use serde::de::DeserializeOwned;

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
    /// Here: the kernel's decision about a path, start of the daemon, push of a policy, events in the log.
    Costs,
    /// Start, list, memory and revoke of 1, 1,000 and 10,000 invocations at once, here at level compat.
    Many,
    /// From a revoke to the first refusal, on a socket and a file that are open: here at level compat, or in a virtual
    /// machine at level lsm.
    Revoke {
        /// Kernel series of the machine, if it is to be one: newest, 6.12 or 6.1.
        #[arg(long)]
        kernel: Option<String>,
        /// Revokes of a single invocation in each condition.
        #[arg(long, default_value_t = 500)]
        repeats: u32,
    },
}

impl Bench {
    pub(crate) fn run(&self, binary: &Path) -> Result<()> {
        match self {
            Self::Enforce { kernel } => {
                crate::setup::ensure_peers()?;
                enforce::run(binary, &super::guest_kernel(kernel)?)
            }
            Self::Native => native::run(binary),
            Self::Costs => costs::run(binary),
            Self::Many => many::run(binary),
            Self::Revoke { kernel, repeats } => {
                let kernel = kernel.as_deref().map(super::guest_kernel).transpose()?;
                revoke::run(binary, kernel.as_ref(), *repeats)
            }
        }
    }
}

/// The program that puts the work under its conditions. Beside it is the one that is many invocations.
fn program() -> Result<PathBuf> {
    let build = ["build", "--quiet", "--release", "--package", "agentguard-tests"];
    let build = [&build[..], &["--bin", "agentguard-bench", "--bin", "agentguard-herd"]].concat();
    crate::run(&mut crate::cargo(&build))?;
    Ok(crate::root().join("target/release/agentguard-bench"))
}

/// What a benchmark program prints.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().context("starting the benchmark")?;
    ensure!(output.status.success(), "the benchmark ended with {}", output.status);
    String::from_utf8(output.stdout).context("output of the benchmark")
}

/// The results in it, one JSON object a line.
fn lines<T: DeserializeOwned>(output: &str) -> Result<Vec<T>> {
    let lines = output.lines().filter(|l| l.starts_with('{'));
    lines.map(|l| serde_json::from_str(l).with_context(|| format!("line {l:?}"))).collect()
}
