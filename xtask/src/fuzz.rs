//! The fuzz targets in `tests/fuzz`: built with coverage counters, which stable's LLVM has, and run one by one.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Each has a program `fuzz-NAME` and seeds in `tests/fuzz/seeds/NAME`.
const TARGETS: [&str; 4] = ["policy", "glob", "event", "btf"];
/// What libFuzzer needs of the compiler.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];
/// One input that takes longer is a failure, in seconds; so is one that needs more memory, in MB.
const INPUT_SECONDS: u32 = 10;
const MEMORY_MB: u32 = 1024;
/// Lines of a failed target's output that are shown.
const TAIL: usize = 40;

/// What a target's output says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    executions: u64,
    /// Branches of the program that were taken.
    covered: u64,
    /// The input that failed.
    reproducer: Option<PathBuf>,
}

impl Report {
    fn read(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let number = || words.clone().next().and_then(|n| n.parse().ok());
            match word {
                "cov:" => self.covered = number().unwrap_or(self.covered),
                "stat::number_of_executed_units:" => self.executions = number().unwrap_or(0),
                _ => {}
            }
        }
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.reproducer = Some(path.trim().into());
        }
    }
}

/// Builds the targets in a directory of their own, since their flags are unlike any other build's. Returns where the
/// programs are.
fn build() -> Result<PathBuf> {
    // Naming the target keeps the flags away from build scripts and procedural macros.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = crate::cargo(&["build", "--quiet", "--profile", "fuzz", "--package", "agentguard-fuzz"]);
    build.args(["--bins", "--target-dir", "target/fuzz", "--target", &target]);
    build.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f")).env("AYA_BUILD_SKIP", "1");
    crate::run(&mut build)?;
    Ok(crate::root().join("target/fuzz").join(target).join("fuzz"))
}

/// Runs one target from its seeds and what earlier runs found.
fn fuzz(programs: &Path, target: &str, seconds: u32) -> Result<Report> {
    let root = crate::root();
    let seeds = root.join("tests/fuzz/seeds").join(target);
    let found = root.join("target/fuzz/corpus").join(target);
    let crashes = root.join("target/fuzz/crashes").join(target);
    for dir in [&found, &crashes] {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let program = programs.join(format!("fuzz-{target}"));
    let mut child = Command::new(&program)
        .args([found, seeds])
        .args([format!("-max_total_time={seconds}"), format!("-timeout={INPUT_SECONDS}")])
        .args([format!("-rss_limit_mb={MEMORY_MB}"), format!("-artifact_prefix={}/", crashes.display())])
        .arg("-print_final_stats=1")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let output = child.stderr.take().context("the target is not piped")?;
    let (mut report, mut lines) = (Report::default(), Vec::new());
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        report.read(&line);
        lines.push(line);
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(report);
    }
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        eprintln!("{line}");
    }
    let input =
        report.reproducer.context(format!("fuzz target {target} ended with {status}, without an input"))?;
    anyhow::bail!("fuzz target {target} failed\nhint: again with {} {}", program.display(), input.display())
}

/// Builds all targets and runs `only`, or all of them, `seconds` each. Every target runs, also after a failure.
pub(crate) fn run(only: Option<&str>, seconds: u32) -> Result<()> {
    if let Some(name) = only {
        ensure!(TARGETS.contains(&name), "no fuzz target is called {name}; hint: one of {TARGETS:?}");
    }
    crate::setup::ensure_fuzzing()?;
    let programs = build()?;
    let mut failed = 0;
    for target in TARGETS.into_iter().filter(|target| only.is_none_or(|name| name == *target)) {
        match fuzz(&programs, target, seconds) {
            Ok(Report { executions, covered, .. }) => {
                println!("{target}: {executions} executions in {seconds} s, {covered} branches covered");
            }
            Err(e) => {
                eprintln!("xtask: error: {e:#}");
                failed += 1;
            }
        }
    }
    ensure!(failed == 0, "{failed} fuzz targets failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_counted() {
        let mut report = Report::default();
        for line in [
            "#5\tINITED cov: 12 ft: 13 corp: 4/192b exec/s: 0 rss: 27Mb",
            "#900\tNEW    cov: 34 ft: 35 corp: 4/192b lim: 73 exec/s: 0 rss: 27Mb",
            "stat::number_of_executed_units: 901",
        ] {
            report.read(line);
        }
        assert_eq!(report, Report { executions: 901, covered: 34, reproducer: None });
        report.read("artifact_prefix='/x/'; Test unit written to /x/crash-1");
        assert_eq!(report.reproducer, Some("/x/crash-1".into()));
    }

    #[test]
    fn every_target_has_seeds_and_a_program() {
        for target in TARGETS {
            let dir = crate::root().join("tests/fuzz");
            let seeds = std::fs::read_dir(dir.join("seeds").join(target)).expect(target);
            assert!(seeds.count() > 0, "{target} has no seeds");
            assert!(dir.join(format!("src/bin/{target}.rs")).exists(), "{target} has no program");
        }
    }
}
