//! What a policy may cost before it is refused: anyone may send one to the daemon.

use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::time::TimeValLike as _;

use super::{Access, Effect, FileRule, NetOp, NetRule, Policy, decide, source, walk};
use crate::launch::testing::in_child;
use crate::policy::compile::{CompileError, Compiled, MAX_WORDS, compile, intersection};

/// Address space that a compilation may take, in bytes.
const MEMORY: u64 = 256 << 20;
/// Processor time: other programs must not make a test fail.
const TIME: Duration = Duration::from_secs(30);

/// Processor time of this thread.
pub(super) fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("own usage");
    [usage.user_time(), usage.system_time()]
        .map(|t| Duration::from_micros(t.num_microseconds() as u64))
        .iter()
        .sum()
}

pub(super) fn rule(glob: String) -> FileRule {
    FileRule { effect: Effect::Allow, glob, access: Access::ALL, source: source() }
}

/// Checks that making tables ends with an error that `expected` accepts, within the limits above.
pub(super) fn bounded(
    make: impl FnOnce() -> Result<Compiled, CompileError>,
    expected: fn(&CompileError) -> bool,
) {
    in_child(move || {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("own memory");
        let pages: u64 = statm.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        let limit = pages * 4096 + MEMORY;
        setrlimit(Resource::RLIMIT_AS, limit, limit).expect("a lower limit");
        let started = cpu();
        let error = make().expect_err("must be refused");
        assert!(expected(&error), "{error}");
        assert!(cpu() - started < TIME, "{:?}", cpu() - started);
        true
    });
}

fn policy_refused(policy: &Policy, expected: fn(&CompileError) -> bool) {
    bounded(|| compile(policy), expected);
}

fn refused(globs: Vec<String>, expected: fn(&CompileError) -> bool) {
    policy_refused(&super::policy(globs.into_iter().map(rule).collect(), Vec::new()), expected);
}

/// One state for every subset of the places where the first `*` may have ended.
fn exploding() -> String {
    format!("**/*a{}", "?".repeat(40))
}

/// 10,000 rules on trees of their own, behind floating ones that reach into each.
fn ten_thousand() -> Policy {
    let tree = |i: usize| format!("/srv/data/tenant-{}/project-{}/**", i % 97, i * 7919 % 100_003);
    let floating = ["**/.env", "**/.ssh/**", "**/*.pem"];
    let floating = floating.map(|glob| FileRule { effect: Effect::Deny, ..rule(glob.into()) });
    super::policy((0..10_000).map(tree).map(rule).chain(floating).collect(), Vec::new())
}

#[test]
fn ten_thousand_rules_compile_in_five_seconds() {
    let policy = ten_thousand();
    let started = cpu();
    let (header, arena) = super::placed(&policy);
    let took = cpu() - started;
    println!("10,000 rules: {took:?}, {} states, {} words", header.states_len, arena.len());
    let most = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 5 });
    assert!(took < most, "{took:?}");
    for (path, allowed) in
        [("deep/x", true), ("x", true), (".ssh/id", false), ("deep/.env", false), ("a.pem", false)]
    {
        let path = format!("/srv/data/tenant-1/project-7919/{path}");
        let verdict = decide(walk(&arena[..], &header, path.as_bytes()), Access::READ);
        assert_eq!(verdict.is_allow(), allowed, "{path}");
    }
}

#[test]
fn a_tool_below_ten_thousand_rules_is_intersected_fast() {
    let large = compile(&ten_thousand()).expect("fits");
    let tool = ["/srv/data/tenant-1/**", "/usr/{lib,bin}/**", "**/*.py"].map(|glob| rule(glob.into()));
    let tool = compile(&super::policy(tool.to_vec(), Vec::new())).expect("small");
    let started = cpu();
    let both = intersection(&[&large, &tool]).expect("fits");
    println!("10,000 rules and a tool's: {:?}, {} states", cpu() - started, both.header.states_len);
    assert!(cpu() - started < Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 5 }));
}

#[test]
fn a_policy_that_is_too_large_is_refused_with_a_hint() {
    let glob = |i: usize| format!("/{i:05}{}", "x".repeat(40));
    let policy = super::policy((0..12_000).map(glob).map(rule).collect(), Vec::new());
    let started = cpu();
    let error = compile(&policy).expect_err("too large").to_string();
    println!("refused after {:?}: {error}", cpu() - started);
    assert!(error.contains("too many for the kernel's tables; hint:"), "{error}");
    assert!(cpu() - started < TIME, "{:?}", cpu() - started);
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
