//! Running the tests, natively and in the guests, and counting them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::attacks::{self, Column};
use crate::vm::{self, Kernel};

/// What one guest may take.
const GUEST_LIMIT: Duration = Duration::from_secs(3600);

/// Files whose tests want no daemon, or one of their own. In a guest all others share one (`agentguard-served`).
const UNSERVED: [&str; 6] = ["corpus", "daemon", "demo", "faults", "policy", "survival"];

/// Counts over all test binaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
    /// Skipped tests that the next result line will report as passed.
    said_skipped: u32,
}

impl Totals {
    /// Counts what a line of a test runner says. A test that says `SKIPPED: name: why` is reported as passed by the
    /// runner, so it is taken off its count.
    pub(crate) fn count(&mut self, line: &str) {
        if line.starts_with("SKIPPED: ") {
            self.skipped += 1;
            self.said_skipped += 1;
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split([';', '.']).map(str::trim) {
            let Some((count, what)) = part.split_once(' ') else { continue };
            let Ok(count) = count.parse::<u32>() else { continue };
            match what {
                "passed" => self.passed += count.saturating_sub(std::mem::take(&mut self.said_skipped)),
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }

    /// # Errors
    /// When a test failed, or none ran.
    pub(crate) fn ensure_green(self) -> Result<()> {
        ensure!(self.failed == 0 && self.passed > 0, "tests failed: {self}");
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// What one run of the tests came to.
pub(crate) struct Run {
    pub(crate) totals: Totals,
    pub(crate) attacks: Column,
}

impl Run {
    fn new(title: String) -> Self {
        Self { totals: Totals::default(), attacks: Column::new(title) }
    }

    fn take(&mut self, line: &str) {
        self.totals.count(line);
        self.attacks.take(line);
    }
}

/// All tests, or the integration tests of one file.
fn cargo_test(only: Option<&str>) -> Command {
    let mut command = Command::new("cargo");
    command.arg("test").current_dir(crate::root());
    match only {
        Some(name) => command.args(["--package", "agentguard-tests", "--test", name]),
        None => command.args(["--workspace", "--exclude", "agentguard-ebpf", "--exclude", "agentguard-fuzz"]),
    };
    command
}

/// Unit, property and native integration tests, or the tests of one file; lines go to standard output as they come.
pub(crate) fn native(binary: &std::path::Path, only: Option<&str>) -> Result<Run> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    let mut run = Run::new(attacks::title("compat", release.trim()));
    let mut command = cargo_test(only);
    command.args(["--no-fail-fast", "--", "--test-threads=1"]).env("AGENTGUARD_BIN", binary);
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let lines = child.stdout.take().context("cargo test is not piped")?;
    for line in BufReader::new(lines).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}")?;
        run.take(&line);
    }
    let (status, totals) = (child.wait()?, run.totals);
    ensure!(status.success() || totals.failed > 0, "cargo test ended with {status} ({totals})");
    Ok(run)
}

/// The compiled integration tests, which the guests run too.
#[derive(Default)]
struct Binaries {
    /// Of files whose tests share a daemon, and of the others.
    served: Vec<PathBuf>,
    unserved: Vec<PathBuf>,
    /// `agentguard-served`.
    server: PathBuf,
}

impl Binaries {
    /// Builds them: all, or those of one file.
    fn build(only: Option<&str>) -> Result<Self> {
        let mut command = cargo_test(only);
        let output = command
            .args(["--no-run", "--message-format", "json"])
            .stderr(Stdio::inherit())
            .output()
            .context("starting cargo test --no-run")?;
        ensure!(output.status.success(), "the tests do not compile");
        let mut binaries = Self::default();
        for line in output.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            binaries.take(&serde_json::from_slice(line).context("message of cargo")?);
        }
        let built = !binaries.served.is_empty() || !binaries.unserved.is_empty();
        ensure!(built && binaries.server.is_file(), "no integration tests were built");
        Ok(binaries)
    }

    fn take(&mut self, message: &serde_json::Value) {
        let target = &message["target"];
        let Some(path) = message["executable"].as_str().map(PathBuf::from) else { return };
        let (kind, name) = (&target["kind"][0], target["name"].as_str().unwrap_or_default());
        let integration = target["src_path"].as_str().is_some_and(|p| p.contains("/tests/tests/"));
        if kind == "test" && integration {
            let list = if UNSERVED.contains(&name) { &mut self.unserved } else { &mut self.served };
            list.push(path);
        } else if kind == "bin" && name == "agentguard-served" && message["profile"]["test"] == false {
            self.server = path;
        }
    }

    /// A script that runs them all, and fails if one does.
    fn script(&self, binary: &std::path::Path, filter: &str) -> String {
        let run = |tests: &[PathBuf]| {
            let line = |test: &PathBuf| {
                format!("{}\n{} --test-threads=1 {filter} || status=1\n", vm::FORGET, test.display())
            };
            tests.iter().map(line).collect::<String>()
        };
        let mut script =
            format!("export AGENTGUARD_BIN={} AGENTGUARD_LEVEL=lsm\nstatus=0\n", binary.display());
        // A change that changes nothing has the guest copy them: opening the host's files takes longer.
        let attacker = self.server.with_file_name("agentguard-corpus");
        script.push_str(&format!("chmod u+r {} {}\n", binary.display(), attacker.display()));
        if !self.served.is_empty() {
            let tests = run(&self.served);
            script.push_str(&format!(
                "served() {{\nlocal status=0\n{tests}return $status\n}}\nexport -f served\n"
            ));
            script.push_str(&format!("{} bash -c served || status=1\n", self.server.display()));
        }
        script.push_str(&run(&self.unserved));
        script.push_str("exit $status\n");
        script
    }
}

/// The integration tests in a guest, at level lsm.
pub(crate) fn guest(kernel: &Kernel, binary: &std::path::Path, filter: &str) -> Result<Run> {
    run(kernel, binary, &Binaries::build(None)?, filter)
}

fn run(kernel: &Kernel, binary: &std::path::Path, tests: &Binaries, filter: &str) -> Result<Run> {
    let script = tests.script(binary, filter);
    let outcome = vm::run(kernel, &script, GUEST_LIMIT, vm::Clock::Time)?;
    let mut run = Run::new(attacks::title("lsm", &kernel.release));
    outcome.output.lines().for_each(|line| run.take(line));
    let totals = run.totals;
    println!("[{}] {totals} in {:.0?} on {}", kernel.short, outcome.elapsed, kernel.release);
    ensure!(outcome.status == 0 || totals.failed > 0, "the guest ended with {} ({totals})", outcome.status);
    Ok(run)
}

/// The integration tests in a guest of each series, side by side. In the order of [`vm::SERIES`].
fn guests(binary: &std::path::Path, only: Option<&str>) -> Result<Vec<Result<Run>>> {
    let tests = Binaries::build(only)?;
    let run = |series| crate::guest_kernel(series).and_then(|kernel| run(&kernel, binary, &tests, ""));
    std::thread::scope(|scope| {
        let run = &run;
        let running = vm::SERIES.map(|series| scope.spawn(move || run(series)));
        let joined = running.into_iter().map(std::thread::ScopedJoinHandle::join);
        let joined =
            joined.map(|r| r.unwrap_or_else(|_| Err(anyhow::anyhow!("the guest's thread panicked"))));
        Ok(joined.collect())
    })
}

/// The tests, or those of one file, natively and then in the guests: their totals, and what came of the attacks.
pub(crate) fn everywhere(binary: &std::path::Path, only: Option<&str>) -> Result<(Totals, Vec<Column>)> {
    let native = native(binary, only)?;
    let (mut totals, mut columns) = (native.totals, vec![native.attacks]);
    for guest in guests(binary, only)? {
        let guest = guest?;
        totals.add(guest.totals);
        columns.push(guest.attacks);
    }
    Ok((totals, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_test_is_not_counted_as_passed() {
        let mut totals = Totals::default();
        totals.count("SKIPPED: x: no lsm here");
        totals.count("test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out");
        assert_eq!(totals, Totals { passed: 2, failed: 1, skipped: 3, said_skipped: 0 });
    }
}
