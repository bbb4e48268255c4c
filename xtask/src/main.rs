//! Build, test and demo commands of the workspace: `cargo xtask --help`.

mod setup;
mod vm;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Build, test and demo AgentGuard")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building and testing need; silent when nothing is missing.
    Setup,
    /// Build the release binary.
    Build,
    /// Formatting, clippy and docs, warnings as errors.
    Lint,
    /// Unit, property and native integration tests, as root.
    Test,
    /// Run a command in a virtual machine with a Debian kernel, at level lsm.
    Vm {
        /// Kernel series: 6.12 or 6.1.
        #[arg(long, default_value = "6.12")]
        kernel: String,
        /// Seconds until the machine is given up.
        #[arg(long, default_value_t = 600)]
        limit: u64,
        /// Script for bash, as root in the guest.
        script: String,
    },
    /// Run an agent under policy end to end.
    Demo,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Runs a command in the workspace; a failure names it.
fn run(command: &mut Command) -> Result<()> {
    let status = command.current_dir(root()).status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} failed with {status}");
    Ok(())
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(args);
    command
}

fn build() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--quiet", "--release", "--package", "agentguard"]))?;
    Ok(root().join("target/release/agentguard"))
}

fn lint() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    let packages = ["--package", "agentguard", "--package", "agentguard-common", "--package", "xtask"];
    let mut clippy = cargo(&["clippy", "--quiet", "--all-targets", "--package", "agentguard-tests"]);
    run(clippy.args(packages).args(["--", "-D", "warnings"]).env("AYA_BUILD_SKIP", "1"))?;
    let mut docs = cargo(&["doc", "--quiet", "--no-deps", "--package", "agentguard-tests"]);
    run(docs.args(packages).env("RUSTDOCFLAGS", "-Dwarnings").env("AYA_BUILD_SKIP", "1"))
}

/// Runs every test and prints one line of totals.
fn test() -> Result<()> {
    let binary = build()?;
    let mut command = cargo(&["test", "--workspace", "--exclude", "agentguard-ebpf", "--no-fail-fast"]);
    let output = command
        .args(["--", "--test-threads=1"])
        .env("AGENTGUARD_BIN", binary)
        .current_dir(root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("starting cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for line in text.lines().filter_map(|l| l.strip_prefix("test result: ")) {
        for part in line.split([';', '.']).map(str::trim) {
            let Some((count, what)) = part.split_once(' ') else { continue };
            let Ok(count) = count.parse::<u32>() else { continue };
            match what {
                "passed" => passed += count,
                "failed" => failed += count,
                "ignored" => skipped += count,
                _ => {}
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 || !output.status.success() || passed == 0 {
        bail!("tests failed");
    }
    Ok(())
}

fn main() -> Result<()> {
    let verb = Cli::parse().verb;
    setup::ensure_installed()?;
    match verb {
        Verb::Setup => Ok(()),
        Verb::Build => build().map(|_| ()),
        Verb::Lint => lint(),
        Verb::Test => test(),
        Verb::Vm { kernel, limit, script } => {
            let series = vm::SERIES.into_iter().find(|s| *s == kernel);
            let series = series.with_context(|| format!("--kernel {kernel}: one of {:?}", vm::SERIES))?;
            let kernel = vm::Kernel::get(series, &root().join("target/kernels"))?;
            let outcome = vm::run(&kernel, &script, std::time::Duration::from_secs(limit))?;
            eprintln!("vm: {} ended with {} after {:.1?}", kernel.release, outcome.status, outcome.elapsed);
            ensure!(outcome.status == 0, "the script failed with {}", outcome.status);
            Ok(())
        }
        Verb::Demo => {
            let binary = build()?;
            let demo = ["--package", "agentguard-tests", "--bin", "agentguard-demo"];
            run(cargo(&["build", "--quiet"]).args(demo))?;
            run(Command::new(root().join("target/debug/agentguard-demo")).env("AGENTGUARD_BIN", binary))
        }
    }
}
