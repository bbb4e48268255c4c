//! What a policy may cost before it is refused: anyone may send one to the daemon.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};

use super::{Access, Effect, FileRule, NetOp, NetRule, Policy, source};
use crate::launch::testing::in_child;
use crate::policy::compile::{CompileError, MAX_WORDS, compile};

/// Address space that a compilation may take, in bytes.
const MEMORY: u64 = 256 << 20;
const TIME: Duration = Duration::from_secs(30);

fn rule(glob: String) -> FileRule {
    FileRule { effect: Effect::Allow, glob, access: Access::ALL, source: source() }
}

/// Checks that compiling `policy` ends with an error that `expected` accepts, within the limits above.
fn policy_refused(policy: &Policy, expected: fn(&CompileError) -> bool) {
    in_child(move || {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("own memory");
        let pages: u64 = statm.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        let limit = pages * 4096 + MEMORY;
        setrlimit(Resource::RLIMIT_AS, limit, limit).expect("a lower limit");
        let started = Instant::now();
        let error = compile(policy).expect_err("must be refused");
        assert!(expected(&error), "{error}");
        assert!(started.elapsed() < TIME, "{:?}", started.elapsed());
        true
    });
}

fn refused(globs: Vec<String>, expected: fn(&CompileError) -> bool) {
    policy_refused(&super::policy(globs.into_iter().map(rule).collect(), Vec::new()), expected);
}

/// One state for every subset of the places where the first `*` may have ended.
fn exploding() -> String {
    format!("**/*a{}", "?".repeat(40))
}

#[test]
fn states_are_counted_as_they_are_made() {
    refused(vec![exploding()], |e| matches!(e, CompileError::TooManyStates(_)));
}

#[test]
fn wide_rows_are_counted_as_they_are_made() {
    // Each byte is a class of its own, so that a row has 255 targets, which differ.
    let mut globs = vec![exploding()];
    globs.extend((1..=126).filter(|b| !b"/.".contains(b)).map(|b: u8| format!("/\\{}*", b as char)));
    globs.extend((0x80..0x800).filter_map(char::from_u32).map(|c| format!("/{c}*")));
    refused(globs, |e| matches!(e, CompileError::TooManyStates(_)));
}

#[test]
fn large_states_are_counted_as_they_are_made() {
    // Each state holds the places in all 5,000 globs.
    let globs = (0..5000).map(|i| format!("**/*{i}*{i}*")).collect();
    refused(globs, |e| matches!(e, CompileError::TooManyStates(_)));
}

#[test]
fn alternatives_are_counted_before_they_are_kept() {
    let glob = format!("/{}{}", "{a,b}".repeat(10), "c".repeat(200));
    refused(vec![glob; 100], |e| matches!(e, CompileError::LongGlobs(_)));
}

#[test]
fn a_policy_of_the_largest_size_compiles() {
    // Letters that nothing shares, so that each needs a state.
    let glob = |i: usize| format!("/{i:05}{}", "x".repeat(27));
    let compiled = compile(&super::policy((0..10_000).map(glob).map(rule).collect(), Vec::new()));
    let words = compiled.expect("fits").words.len();
    assert!((MAX_WORDS * 3 / 4..=MAX_WORDS).contains(&words), "{words} of {MAX_WORDS} words");
}

fn net_rule(ops: usize, to: &str, ports: u16) -> NetRule {
    NetRule {
        effect: Effect::Allow,
        ops: vec![NetOp::Connect; ops],
        to: vec![to.parse().expect("a network")],
        ports: (0..ports).map(|port| (port, port)).collect(),
        protocols: Vec::new(),
        source: source(),
    }
}

#[test]
fn repeated_operations_and_ports_are_counted_before_they_are_multiplied() {
    let rule = net_rule(50_000, "10.0.0.0/8", 50_000);
    policy_refused(&super::policy(Vec::new(), vec![rule]), |e| matches!(e, CompileError::Overlaps));
}

#[test]
fn overlapping_networks_are_counted_as_they_are_compared() {
    let rules = (0..2000).map(|i| net_rule(1, &format!("10.{}.{}.0/24", i / 256, i % 256), 0));
    let rules = rules.chain((0..2000).map(|i| net_rule(1, "10.0.0.0/8", 1 + i % 4)));
    policy_refused(&super::policy(Vec::new(), rules.collect()), |e| matches!(e, CompileError::Overlaps));
}

#[test]
fn ten_thousand_networks_compile() {
    let rules = (0..10_000).map(|i| net_rule(1, &format!("10.{}.{}.0/24", i / 256, i % 256), i as u16 % 8));
    compile(&super::policy(Vec::new(), rules.collect())).expect("fits");
}
