//! What enforcement costs the enforced. `cargo xtask bench` runs it and makes ratios of what it prints.
//!
//! Natively: the same system calls with nothing loaded, by an untagged task while the daemon runs, and by a tagged task,
//! interleaved. In a guest that counts instructions (`enforce`): more conditions, once each.
//!
//! One JSON line for each condition, round and test; times are nanoseconds per operation. Every test checks that exactly
//! what the policy denies was denied, so a run in which nothing was enforced is no result.

mod costs;
mod enforce;
mod many;
mod revoke;
mod work;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use agentguard_tests::herd::quantile;
use agentguard_tests::{Level, Site};

const POLICY: &str = include_str!("policy.yaml");
/// Statically linked, so that exec costs little besides what enforcement adds.
const TINY_PROGRAM: &str = "/bin/busybox";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["work", condition, round, scale] => work::run(&work::Label { condition, round }, number(scale)),
        ["costs"] => costs::run(),
        ["storm", port] => costs::storm(number(port)),
        ["enforce", work, scale] => enforce::run(work, scale),
        ["many", ref counts @ ..] => many::run(&counts.iter().map(|count| number(count)).collect::<Vec<_>>()),
        ["revoke", repeats] => revoke::run(number(repeats)),
        ["revoke-work", kind, target, page, then] => revoke::work(kind, target, page, then),
        [rounds, scale] => compare(number(rounds), scale),
        _ => {
            eprintln!("usage: agentguard-bench ROUNDS SCALE_PERCENT; hint: cargo xtask bench native");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_else(|e| panic!("{text:?} is no number: {e}"))
}

/// Milliseconds since then.
fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The median of so many measurements.
fn median(count: usize, measure: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = std::iter::repeat_with(measure).take(count).collect();
    all.sort_by(f64::total_cmp);
    quantile(&all, 0.5)
}

/// The files that the work opens and executes, deleted with it.
struct Files;

impl Files {
    /// Makes them. The names are fixed because their length is part of what is measured, so they must be free.
    fn new() -> Self {
        let taken =
            |e| panic!("{}: {e}; hint: does another benchmark run? else remove /tmp/agb*", work::DIRECTORY);
        DirBuilder::new().mode(0o755).create(work::DIRECTORY).unwrap_or_else(taken);
        let files = Self;
        for path in work::OPENED.into_iter().chain([work::SECRET]) {
            let parent = Path::new(path).parent().expect("an absolute path");
            fs::create_dir_all(parent).expect("mkdir");
            File::create_new(path).unwrap_or_else(|e| panic!("{path}: {e}; hint: remove it"));
        }
        let program = std::env::current_exe().expect("this program");
        for (from, to) in [(Path::new(TINY_PROGRAM), work::TINY), (&program, work::PROGRAM)] {
            fs::copy(from, to).unwrap_or_else(|e| panic!("{} to {to}: {e}", from.display()));
            fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        files
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(work::DIRECTORY); // a leftover is reported by the next run
        for path in work::OPENED.into_iter().chain([work::SECRET]) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Runs the work under each condition in each round. A round's conditions share a few seconds of the machine's mood.
fn compare(rounds: u32, scale: &str) {
    let site = Site::default();
    let _files = Files::new();
    let policy = site.file("bench.yaml", POLICY);
    let level = Level::expected();
    for round in 0..rounds {
        let round = round.to_string();
        let work = |condition| [work::PROGRAM, "work", condition, &round, scale].map(str::to_owned);
        let plain = |condition| {
            let argv = work(condition);
            print!("{}", site.finish(Command::new(&argv[0]).args(&argv[1..])).success().stdout);
        };
        plain("unloaded");
        let daemon = site.daemon();
        site.until_quiet();
        plain("untagged");
        let options = ["--level", level.name()];
        print!("{}", site.agent(&policy).options(&options).run(work("tagged")).success().stdout);
        daemon.stop(&site, libc::SIGTERM);
    }
}
