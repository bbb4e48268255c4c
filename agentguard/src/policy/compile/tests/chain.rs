//! Intersections of chains of policies against the plain reading of each policy in them.

use std::sync::Arc;

use agentguard_common::file::{Access, decide, walk};
use agentguard_common::net::{self, NetFacts, NetOp};
use agentguard_common::policy::{flags, privilege};
use agentguard_common::verdict::Reason;
use proptest::prelude::*;

use super::limits::cpu;
use super::oracle::{Rule, expected, joined, path, rule, seeded, written};
use super::tree::{self, Part, Random};
use super::{address, behind_others, decision, net_rule, policy, variables};
use crate::policy::compile::{CompileError, Compiled, compile, compile_chain, intersection};
use crate::policy::model::{Effect, Mode, NetRule, Policy};
use crate::policy::{Chain, Explainer, builtin, builtin_names, explain_file_chain, explain_net_chain, load};

const CHAINS: usize = 1_000;
const PATHS: usize = 10;
const OPERATIONS: usize = 2;
/// Wildcards in the rules that a chain is made of: with more, many products would be too large.
const WILDCARDS: usize = 10;
/// Chains that are too large all the same.
const TOO_LARGE: usize = 10;

const STRENGTH: [Effect; 3] = [Effect::Allow, Effect::Ask, Effect::Deny];

fn strength(effect: Effect) -> usize {
    STRENGTH.iter().position(|e| *e == effect).expect("one of three")
}

#[derive(Debug, Default)]
struct Seen {
    too_large: usize,
    /// Decisions by effect.
    decisions: [usize; 3],
    /// Decisions by a policy that is not the uppermost.
    further_down: usize,
    by_length: [usize; 9],
}

fn copy(rule: &Rule) -> Rule {
    Rule { glob: rule.glob.clone(), effect: rule.effect, access: rule.access }
}

/// Policies that mostly speak of the same things, as those of a delegation do, and mostly allow the rest.
fn chain(pool: &[Rule], random: &mut Random) -> Vec<Vec<Rule>> {
    let some = |random: &mut Random| {
        let mut rules = Vec::new();
        for rule in pool.iter().filter(|_| !random.one_in(4)).map(copy).collect::<Vec<_>>() {
            let effect = if random.one_in(3) { random.pick(&STRENGTH) } else { rule.effect };
            rules.push(Rule { effect, ..rule });
        }
        if !random.one_in(8) {
            let effect = if random.one_in(8) { Effect::Ask } else { Effect::Allow };
            rules.push(Rule { glob: vec![Part::Deep], effect, access: Access::ALL });
        }
        rules
    };
    (0..2 + random.below(7)).map(|_| some(random)).collect()
}

fn check(random: &mut Random, seen: &mut Seen) {
    let (pool, rules, policies, compiled) = loop {
        let pool: Vec<_> = (0..random.below(6)).map(|_| rule(random)).collect();
        let wild =
            |p: &Policy| p.files.iter().map(|rule| rule.glob.matches(['*', '?']).count()).sum::<usize>();
        if wild(&written(&pool, random)) > WILDCARDS {
            continue;
        }
        let rules = chain(&pool, random);
        let policies: Vec<_> = rules.iter().map(|rules| written(rules, random)).collect();
        match compile_chain(&policies.iter().collect::<Vec<_>>()) {
            Ok(compiled) => break (pool, rules, policies, compiled),
            Err(CompileError::TooManyStates(_) | CompileError::TooManyPairs(_))
                if seen.too_large < TOO_LARGE =>
            {
                seen.too_large += 1;
            }
            Err(e) => panic!("{e}"),
        }
    };
    let of_chain: Vec<_> = policies.iter().collect();
    let prepared = Chain(policies.iter().map(|p| Arc::new(Explainer::new(Arc::new(p.clone())))).collect());
    let (header, arena) = behind_others(&compiled);
    for _ in 0..PATHS {
        let path = path(&pool, random);
        let bytes = joined(&path);
        for _ in 0..OPERATIONS {
            let want =
                Access(if random.one_in(4) { 1 + random.below(0x7f) as u16 } else { 1 << random.below(7) });
            let each = rules.iter().map(|rules| {
                let matching: Vec<_> = rules.iter().filter(|r| tree::matches(&r.glob, &path)).collect();
                expected(&matching, want).0
            });
            let each: Vec<_> = each.collect();
            let weakest = each.iter().copied().max_by_key(|e| strength(*e)).expect("two or more");
            let uppermost = each.iter().position(|e| *e == weakest).expect("one of them");
            let case = || format!("{:?} of {want:?} under {policies:#?}", bytes.escape_ascii().to_string());
            assert_eq!(
                decide(walk(&arena[..], &header, &bytes), want).decision,
                decision(weakest),
                "{}",
                case()
            );
            let explained = explain_file_chain(&of_chain, &bytes, want);
            assert_eq!((explained.policy, explained.explanation.effect), (uppermost, weakest), "{}", case());
            assert_eq!(prepared.explain_file(&bytes, want), explained, "{}", case());
            seen.decisions[strength(weakest)] += 1;
            seen.further_down += usize::from(uppermost > 0);
        }
    }
    seen.by_length[rules.len()] += 1;
}

#[test]
fn the_intersection_decides_as_the_weakest_of_the_chain() {
    let (mut random, mut seen) = (seeded(), Seen::default());
    for _ in 0..CHAINS {
        check(&mut random, &mut seen);
    }
    println!("{seen:?}");
    assert_eq!(seen.decisions.iter().sum::<usize>(), CHAINS * PATHS * OPERATIONS);
    for effect in seen.decisions {
        assert!(effect > 1_000, "{seen:?}");
    }
    assert!(seen.further_down > 5_000, "{seen:?}");
    assert!(seen.by_length[2..].iter().all(|n| *n > 50), "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    // 600 chains x 20 requests = 12,000 cases.
    #[test]
    fn the_intersection_of_ranges_decides_as_the_weakest_of_the_chain(
        chain in prop::collection::vec(prop::collection::vec(net_rule(), 0..6), 2..=8),
        open in prop::collection::vec(0u8..8, 8),
        requests in prop::collection::vec((address(), 0u16..26, prop_oneof![Just(6u8), Just(17), Just(132), Just(1)], any::<bool>()), 20),
    ) {
        let any = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a network"));
        let policies: Vec<_> = chain.into_iter().zip(open).map(|(mut rules, open)| {
            if open > 0 {
                let ops = vec![NetOp::Bind, NetOp::Connect];
                let effect = if open == 1 { Effect::Ask } else { Effect::Allow };
                let (ports, protocols) = (Vec::new(), Vec::new());
                rules.push(NetRule {
                    effect, ops, to: any.to_vec(), ports, protocols, source: super::source(),
                });
            }
            policy(Vec::new(), rules)
        }).collect();
        let of_chain: Vec<_> = policies.iter().collect();
        let (header, arena) = behind_others(&compile_chain(&of_chain).expect("compiles"));
        for (address, port, protocol, bind) in requests {
            let op = if bind { NetOp::Bind } else { NetOp::Connect };
            let facts = NetFacts { op, protocol, port, address };
            let got = net::decide(&arena[..], &header, &facts);
            let each = policies.iter().map(|p| crate::policy::explain_net(p, &facts).effect);
            let weakest = each.max_by_key(|e| strength(*e)).expect("two or more");
            prop_assert_eq!(got.decision, decision(weakest), "{:?}", facts);
            let explained = explain_net_chain(&of_chain, &facts);
            prop_assert_eq!(explained.explanation.effect, weakest);
            let reason = if explained.explanation.rule.is_some() { Reason::Rule } else { Reason::NoRule };
            prop_assert_eq!(got.reason, reason, "{:?}", facts);
        }
    }
}

#[test]
fn flags_privileges_and_families_are_intersected() {
    let make = |mode, log_allowed, privileges| {
        compile(&Policy { mode, log_allowed, privileges, ..policy(Vec::new(), Vec::new()) })
            .expect("compiles")
    };
    let audit = make(Mode::Audit, false, privilege::BPF | privilege::PERF);
    let mut enforce = make(Mode::Enforce, true, privilege::PERF | privilege::MOUNT);
    enforce.header.families_high = 3;
    let both = intersection(&[&audit, &enforce]).expect("compiles").header;
    assert_eq!((both.flags, both.privileges, both.families_high), (flags::LOG_ALLOWED, privilege::PERF, 0));
    let watched = intersection(&[&audit, &audit]).expect("compiles").header;
    assert_eq!((watched.flags, watched.privileges), (flags::AUDIT, audit.header.privileges));
    assert!(matches!(intersection(&[]), Err(CompileError::EmptyChain)));
}

pub(super) fn shipped() -> Vec<Compiled> {
    let load = |name| load(name, builtin(name).expect("shipped"), &variables()).expect(name);
    builtin_names().into_iter().map(|name| compile(&load(name)).expect(name)).collect()
}

#[test]
fn chains_of_shipped_policies_are_fast_and_small() {
    let shipped = shipped();
    let sizes: Vec<_> = shipped.iter().map(|c| c.words.len()).collect();
    let mut effective = shipped[0].clone();
    for below in shipped.iter().cycle().skip(1).take(7) {
        let started = cpu();
        effective = intersection(&[&effective, below]).expect("small");
        let took = cpu() - started;
        println!("{took:?} {} states {} words", effective.header.states_len, effective.words.len());
        assert!(took.as_millis() < if cfg!(debug_assertions) { 5_000 } else { 100 }, "{took:?}");
        assert!(effective.words.len() <= 2 * sizes.iter().max().expect("some"), "{sizes:?}");
    }
}

#[test]
fn a_policy_intersected_with_itself_is_no_larger() {
    for policy in shipped() {
        let twice = intersection(&[&policy, &policy]).expect("small");
        assert!(twice.header.states_len <= policy.header.states_len);
    }
}

#[test]
fn products_are_counted_as_they_are_made() {
    let of = |glob: String| compile(&policy(vec![super::limits::rule(glob)], Vec::new())).expect("compiles");
    // Which of the last 13 bytes are `a`, and which are `b`: some 1.6 million pairs.
    let (a, b) = (of(format!("**/*a{}", "?".repeat(12))), of(format!("**/*b{}", "?".repeat(12))));
    super::limits::bounded(|| intersection(&[&a, &b]), |e| matches!(e, CompileError::TooManyPairs(_)));
}

#[test]
fn lists_of_ports_are_counted_as_they_are_intersected() {
    let rule = |to: String, ports: std::ops::Range<u16>| NetRule {
        effect: Effect::Allow,
        ops: vec![NetOp::Connect],
        to: vec![to.parse().expect("a network")],
        ports: ports.step_by(2).map(|port| (port, port)).collect(),
        protocols: vec![6],
        source: super::source(),
    };
    // A long list for one range, against short ones that differ for each of 16,384.
    let long = compile(&policy(Vec::new(), vec![rule("10.0.0.0/8".into(), 0..20_000)])).expect("compiles");
    let many = (0..16_384u16).map(|i| rule(format!("10.{}.{}.0/24", i / 256, i % 256), i..i + 1));
    let many = compile(&policy(Vec::new(), many.collect())).expect("compiles");
    super::limits::bounded(|| intersection(&[&long, &many]), |e| matches!(e, CompileError::Overlaps));
}
