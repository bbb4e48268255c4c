//! Build, test and demo commands of the workspace: `cargo xtask --help`.

mod api;
mod attacks;
mod bench;
mod fuzz;
mod setup;
mod suite;
mod verifier;
mod vm;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

/// Seconds until a guest that runs a script is given up.
const GUEST_LIMIT: u64 = 600;

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
    /// Unit, property, native and guest tests, as root.
    Test {
        /// Leave the virtual machines out.
        #[arg(long)]
        native: bool,
    },
    /// Run the integration tests, or a script, in a virtual machine with a Debian kernel, at level lsm.
    Vm {
        /// Kernel series: newest, 6.12 or 6.1.
        #[arg(long, default_value = "6.12")]
        kernel: String,
        /// Seconds until the machine is given up.
        #[arg(long, default_value_t = GUEST_LIMIT)]
        limit: u64,
        /// Only tests whose name contains this.
        #[arg(long, default_value = "")]
        filter: String,
        /// Script for bash, as root in the guest, instead of the tests.
        script: Option<String>,
    },
    /// Fuzz what reads untrusted bytes: policies, globs, events of the kernel, type information.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only this target: policy, glob, event or btf.
        target: Option<String>,
    },
    /// Fuzz the control socket against its OpenAPI document (natively, with Schemathesis from PyPI).
    ApiFuzz {
        /// Examples for each operation.
        #[arg(long, default_value_t = 100)]
        examples: u32,
    },
    /// Kill the daemon again and again under load, natively, and look for anything that is lost.
    Faults {
        /// How often.
        #[arg(long, default_value_t = 200)]
        kills: u32,
    },
    /// What enforcement costs the enforced: ratios to the same work with nothing loaded.
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Make every attack of the corpus natively and in the guests; show what differs from the documented table.
    Attacks {
        /// Write the table, docs/attacks.md.
        #[arg(long)]
        write: bool,
    },
    /// Load every kernel program on every kernel of the matrix; show what changed since the record.
    Verifier {
        /// Make this the record, docs/verifier.md.
        #[arg(long)]
        write: bool,
    },
    /// Run an agent under policy end to end.
    Demo {
        /// In a virtual machine, at level lsm.
        #[arg(long)]
        vm: bool,
        /// Kernel series of the machine: newest, 6.12 or 6.1.
        #[arg(long, default_value = "6.12")]
        kernel: String,
    },
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
    setup::ensure_lints()?;
    setup::ensure_fuzzing()?;
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    let packages = ["--package", "agentguard", "--package", "agentguard-common", "--package", "xtask"];
    let mut clippy = cargo(&["clippy", "--quiet", "--all-targets", "--package", "agentguard-tests"]);
    run(clippy.args(packages).args(["--", "-D", "warnings"]).env("AYA_BUILD_SKIP", "1"))?;
    let mut targets = cargo(&["clippy", "--quiet", "--package", "agentguard-fuzz"]);
    run(targets.args(["--", "-D", "warnings"]).env("AYA_BUILD_SKIP", "1"))?;
    // The kernel plane for this host: the same code, and clippy needs no BPF target for it.
    let mut kernel = cargo(&["clippy", "--quiet", "--package", "agentguard-ebpf"]);
    kernel.args(["--target-dir", "target/kernel-plane", "--", "-D", "warnings"]).env("RUSTC_BOOTSTRAP", "1");
    run(&mut kernel)?;
    run(&mut cargo(&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]))?;
    let mut docs = cargo(&["doc", "--quiet", "--no-deps", "--package", "agentguard-tests"]);
    run(docs.args(packages).env("RUSTDOCFLAGS", "-Dwarnings").env("AYA_BUILD_SKIP", "1"))
}

/// Runs every test, natively and in the guests, and prints one line of totals.
fn test(native_only: bool) -> Result<()> {
    let binary = build()?;
    let (totals, columns) = if native_only {
        (suite::native(&binary, None)?.totals, Vec::new())
    } else {
        suite::everywhere(&binary, None)?
    };
    if !native_only {
        attacks::report(&columns, false)?;
    }
    println!("{totals}");
    totals.ensure_green()
}

/// The fault test, with more kills than the tests make.
fn faults(kills: u32) -> Result<()> {
    let binary = build()?;
    let mut test = cargo(&["test", "--package", "agentguard-tests", "--test", "faults", "--", "--nocapture"]);
    run(test.env("AGENTGUARD_BIN", binary).env("AGENTGUARD_KILLS", kills.to_string()))
}

fn guest_kernel(series: &str) -> Result<vm::Kernel> {
    let known = vm::SERIES.into_iter().find(|s| *s == series);
    let series = known.with_context(|| format!("--kernel {series}: one of {:?}", vm::SERIES))?;
    vm::Kernel::get(series, &root().join("target/kernels"))
}

/// Runs a script, or without one the integration tests, in one guest.
fn guest(series: &str, script: Option<&str>, filter: &str, limit: u64) -> Result<()> {
    let kernel = guest_kernel(series)?;
    let Some(script) = script else {
        return suite::guest(&kernel, &build()?, filter)?.totals.ensure_green();
    };
    let outcome = vm::run(&kernel, script, Duration::from_secs(limit), vm::Clock::Time)?;
    eprintln!("vm: {} ended with {} after {:.1?}", kernel.release, outcome.status, outcome.elapsed);
    ensure!(outcome.status == 0, "the script failed with {}", outcome.status);
    Ok(())
}

/// The demo, here or in a guest.
fn demo(series: Option<&str>) -> Result<()> {
    let binary = build()?;
    let demo = ["--package", "agentguard-tests", "--bin", "agentguard-demo"];
    run(cargo(&["build", "--quiet"]).args(demo))?;
    let program = root().join("target/debug/agentguard-demo");
    let Some(series) = series else {
        return run(Command::new(program).env("AGENTGUARD_BIN", binary));
    };
    let script =
        format!("AGENTGUARD_LEVEL=lsm AGENTGUARD_BIN='{}' '{}'", binary.display(), program.display());
    guest(series, Some(&script), "", GUEST_LIMIT)
}

fn main() -> ExitCode {
    match perform(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(verb: Verb) -> Result<()> {
    setup::ensure_installed()?;
    match verb {
        Verb::Setup => {
            setup::ensure_lints()?;
            vm::SERIES.into_iter().try_for_each(|series| guest_kernel(series).map(|_| ()))
        }
        Verb::Build => build().map(|_| ()),
        Verb::Lint => lint(),
        Verb::Test { native } => test(native),
        Verb::Vm { kernel, limit, filter, script } => guest(&kernel, script.as_deref(), &filter, limit),
        Verb::Fuzz { seconds, target } => fuzz::run(target.as_deref(), seconds),
        Verb::Bench { bench } => bench.run(&build()?),
        Verb::ApiFuzz { examples } => api::fuzz(&build()?, examples),
        Verb::Faults { kills } => faults(kills),
        Verb::Attacks { write } => attacks::attacks(&build()?, write),
        Verb::Verifier { write } => verifier::verifier(&build()?, write),
        Verb::Demo { vm, kernel } => demo(vm.then_some(kernel.as_str())),
    }
}
