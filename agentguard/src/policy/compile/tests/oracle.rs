//! 100,000 decisions of compiled tables against an interpreter that shares no code with the compiler (`tree`).

use agentguard_common::file::{Access, decide, walk};
use agentguard_common::verdict::Decision;

use super::tree::{self, Part, Random};
use super::{behind_others, decision, policy};
use crate::policy::compile::{CompileError, compile};
use crate::policy::explain_file;
use crate::policy::model::{Effect, FileRule, Policy, RuleSource};

const POLICIES: usize = 5_000;
const PATHS: usize = 10;
const OPERATIONS: usize = 2;
/// Wildcards in a policy: with more of them many would be too large for the kernel, which `limits` tests.
const WILDCARDS: usize = 16;
/// Policies that are too large all the same.
const TOO_LARGE: usize = 10;
/// Overrides the seed that is the same for every run.
const SEED_VARIABLE: &str = "AGENTGUARD_TEST_SEED";
const SEED: u64 = 2026;

/// How often each thing happened, so that a generator that misses what matters does not pass.
#[derive(Debug, Default)]
struct Seen {
    too_large: usize,
    cases: usize,
    allowed: usize,
    asked: usize,
    denied_by_rule: usize,
    denied_by_default: usize,
    several_rules: usize,
    not_utf8: usize,
    newline: usize,
    longest_name: usize,
    sixty_levels: usize,
}

pub(super) struct Rule {
    pub(super) glob: Vec<Part>,
    pub(super) effect: Effect,
    pub(super) access: Access,
}

pub(super) fn rule(random: &mut Random) -> Rule {
    let effect = random.pick(&[Effect::Allow, Effect::Allow, Effect::Ask, Effect::Deny, Effect::Deny]);
    let access = if random.one_in(2) { Access::ALL } else { Access(1 + random.below(0x7f) as u16) };
    Rule { glob: tree::glob(random), effect, access }
}

/// As the compiler gets them. The line tells which rule it is.
pub(super) fn written(rules: &[Rule], random: &mut Random) -> Policy {
    let files = rules.iter().zip(0..).map(|(rule, line)| FileRule {
        effect: rule.effect,
        glob: tree::text(&rule.glob, random),
        access: rule.access,
        source: RuleSource { document: "test".into(), line, reason: None },
    });
    policy(files.collect(), Vec::new())
}

/// A path, mostly one that a rule matches or nearly does. Names are what the kernel allows.
pub(super) fn path(rules: &[Rule], random: &mut Random) -> Vec<Vec<u8>> {
    let mut path = match rules {
        [_, ..] if !random.one_in(6) => tree::sample(&rules[random.below(rules.len())].glob, random),
        _ => {
            let depth = if random.one_in(16) { 60 } else { random.below(5) };
            let mut name = || {
                let len = if random.one_in(60) { 255 } else { 1 + random.below(3) };
                random.bytes(len)
            };
            (0..depth).map(|_| name()).collect()
        }
    };
    match random.below(12) {
        0 => path.push(random.bytes(2)),
        1 => drop(path.pop()),
        2 => {
            if let Some(name) = path.last_mut() {
                name.push(random.byte());
            }
        }
        _ => {}
    }
    let mut left = 4000;
    path.retain_mut(|name| {
        name.iter_mut().filter(|b| **b == b'/').for_each(|b| *b = b'0'); // of a range over it
        name.truncate(255);
        if matches!(name.as_slice(), b"" | b"." | b"..") {
            *name = b"a".to_vec();
        }
        let fits = name.len() < left;
        left -= if fits { name.len() + 1 } else { 0 };
        fits
    });
    path
}

pub(super) fn joined(path: &[Vec<u8>]) -> Vec<u8> {
    if path.is_empty() {
        b"/".to_vec()
    } else {
        path.iter().flat_map(|n| [b"/", n.as_slice()].concat()).collect()
    }
}

/// What the rules say about one access: deny before ask before allow, and deny where no rule speaks.
fn one_access(matching: &[&Rule], access: Access) -> (Effect, bool) {
    let said = |effect| matching.iter().any(|r| r.effect == effect && r.access.0 & access.0 != 0);
    let found = [Effect::Deny, Effect::Ask, Effect::Allow].into_iter().find(|effect| said(*effect));
    (found.unwrap_or(Effect::Deny), found.is_some())
}

/// What they say about several: the worst of each. And whether a rule, not its absence, says so.
pub(super) fn expected(matching: &[&Rule], want: Access) -> (Effect, bool) {
    let each = (0..7).map(|bit| Access(1 << bit)).filter(|access| want.0 & access.0 != 0);
    let each: Vec<_> = each.map(|access| one_access(matching, access)).collect();
    let of = |effect| each.iter().find(|(e, _)| *e == effect).copied();
    of(Effect::Deny).or_else(|| of(Effect::Ask)).unwrap_or((Effect::Allow, true))
}

impl Seen {
    fn path(&mut self, path: &[Vec<u8>], matching: usize) {
        self.several_rules += usize::from(matching > 1);
        self.not_utf8 += usize::from(str::from_utf8(&joined(path)).is_err());
        self.newline += usize::from(path.iter().any(|name| name.contains(&b'\n')));
        self.longest_name += usize::from(path.iter().any(|name| name.len() == 255));
        self.sixty_levels += usize::from(path.len() >= 60);
    }

    fn outcome(&mut self, outcome: (Effect, bool)) {
        self.cases += 1;
        *match outcome {
            (Effect::Allow, _) => &mut self.allowed,
            (Effect::Ask, _) => &mut self.asked,
            (Effect::Deny, true) => &mut self.denied_by_rule,
            (Effect::Deny, false) => &mut self.denied_by_default,
        } += 1;
    }

    fn assert_everything_is_frequent(&self) {
        let paths = POLICIES * PATHS;
        assert_eq!(self.cases, 100_000, "{self:?}");
        for outcome in [self.allowed, self.denied_by_rule, self.denied_by_default] {
            assert!(outcome > self.cases / 10, "{self:?}");
        }
        assert!(self.asked > self.cases / 25, "{self:?}");
        for kind in [self.several_rules, self.not_utf8, self.newline] {
            assert!(kind > paths / 20, "{self:?}");
        }
        for kind in [self.longest_name, self.sixty_levels] {
            assert!(kind > paths / 100, "{self:?}");
        }
    }
}

/// One policy with its paths and operations.
fn check(random: &mut Random, seen: &mut Seen) {
    let (rules, policy, compiled) = loop {
        let rules: Vec<_> = (0..random.below(10)).map(|_| rule(random)).collect();
        let policy = written(&rules, random);
        if policy.files.iter().map(|rule| rule.glob.matches(['*', '?']).count()).sum::<usize>() > WILDCARDS {
            continue;
        }
        match compile(&policy) {
            Ok(compiled) => break (rules, policy, compiled),
            Err(CompileError::TooManyStates(_)) if seen.too_large < TOO_LARGE => seen.too_large += 1,
            Err(e) => panic!("{e}: {:?}", policy.files),
        }
    };
    let globs: Vec<_> = policy.files.iter().map(|r| (r.effect, r.access, &r.glob)).collect();
    let (header, arena) = behind_others(&compiled);
    for _ in 0..PATHS {
        let path = path(&rules, random);
        let bytes = joined(&path);
        let matching: Vec<_> = rules.iter().filter(|rule| tree::matches(&rule.glob, &path)).collect();
        seen.path(&path, matching.len());
        for _ in 0..OPERATIONS {
            let want =
                Access(if random.one_in(4) { random.below(0x80) as u16 } else { 1 << random.below(7) });
            let (effect, by_rule) = expected(&matching, want);
            seen.outcome((effect, by_rule));
            let case = || format!("{:?} of {want:?} under {globs:?}", bytes.escape_ascii().to_string());
            let got = decide(walk(&arena[..], &header, &bytes), want).decision;
            assert_eq!(got, decision(effect), "tables: {}", case());
            let explained = explain_file(&policy, &bytes, want);
            assert_eq!(explained.effect, effect, "explained: {}", case());
            if want == Access::NONE {
                assert_eq!(got, Decision::Allow);
                continue;
            }
            // Several accesses may be denied, one by a rule and one by default: which is named is open then.
            if let Some(source) = explained.rule {
                let named = &rules[source.line as usize];
                let decides = named.effect == effect && named.access.0 & want.0 != 0;
                assert!(decides && tree::matches(&named.glob, &path), "named {source:?}: {}", case());
            } else if want.0.is_power_of_two() {
                assert!(!by_rule, "no rule named: {}", case());
            }
        }
    }
}

/// Random numbers from the seed, which is printed.
pub(super) fn seeded() -> Random {
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(seed) => seed.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE}={seed} is no number")),
        Err(_) => SEED,
    };
    println!("{SEED_VARIABLE}={seed}");
    Random(seed)
}

#[test]
fn the_dfa_decides_as_a_naive_interpreter_does() {
    let (mut random, mut seen) = (seeded(), Seen::default());
    for _ in 0..POLICIES {
        check(&mut random, &mut seen);
    }
    println!("{seen:?}");
    seen.assert_everything_is_frequent();
}
