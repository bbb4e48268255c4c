//! Compiled tables against the naive reading of the rules.

mod chain;
mod limits;
mod oracle;
mod stay;
mod tools;
mod tree;

use agentguard_common::file::{Access, decide, walk};
use agentguard_common::net::{self, Address, NetFacts, NetOp};
use agentguard_common::policy::PolicyHeader;
use agentguard_common::verdict::Decision;
use proptest::prelude::*;

use super::{Compiled, compile};
use crate::policy::model::{Effect, Environment, FileRule, Mode, NetRule, Policy, RuleSource};
use crate::policy::{builtin, builtin_names, explain_file, explain_net, load};

const BASE: u32 = 4096;

fn policy(files: Vec<FileRule>, network: Vec<NetRule>) -> Policy {
    Policy {
        name: "test".into(),
        digest: String::new(),
        mode: Mode::Enforce,
        ttl: None,
        max_ttl: None,
        subjects: None,
        log_allowed: false,
        files,
        network,
        environment: Environment::default(),
        privileges: 0,
        tools: Vec::new(),
    }
}

fn placed(policy: &Policy) -> (PolicyHeader, Vec<u32>) {
    behind_others(&compile(policy).expect("compiles"))
}

/// Header and arena, with the tables of other policies in front.
fn behind_others(compiled: &Compiled) -> (PolicyHeader, Vec<u32>) {
    let (header, words) = compiled.place(BASE);
    let mut arena = vec![0xdead_beef; BASE as usize];
    arena.extend(words);
    (header, arena)
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![4 => Just(Effect::Allow), 1 => Just(Effect::Ask), 2 => Just(Effect::Deny)]
}

fn source() -> RuleSource {
    RuleSource { document: "test".into(), line: 1, reason: None }
}

fn decision(effect: Effect) -> Decision {
    match effect {
        Effect::Allow => Decision::Allow,
        Effect::Ask => Decision::Ask,
        Effect::Deny => Decision::Deny,
    }
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        (0u32..64).prop_map(|a| Address::V4(0x0a00_0000 + a)),
        (0u32..64).prop_map(|a| Address::V6([0xfd00_0000, 0, 0, a])),
    ]
}

fn net_rule() -> impl Strategy<Value = NetRule> {
    let nets = prop_oneof![
        (0u32..64, 24u8..=32).prop_map(|(a, p)| format!("{}/{p}", std::net::Ipv4Addr::from(0x0a00_0000 + a))),
        (0u32..64, 120u8..=128).prop_map(|(a, p)| format!("fd00::{a:x}/{p}")),
        Just("0.0.0.0/0".to_owned()),
        Just("::/0".to_owned()),
    ];
    let net = nets.prop_map(|n| n.parse::<ipnet::IpNet>().expect("generated").trunc());
    let ports = prop::collection::vec((0u16..20, 0u16..5).prop_map(|(l, n)| (l, l + n)), 0..3);
    let protocols = prop::collection::vec(prop_oneof![Just(6u8), Just(17), Just(132)], 0..2);
    (effect(), net, ports, protocols, any::<bool>()).prop_map(|(effect, to, ports, protocols, bind)| {
        NetRule {
            effect,
            ops: if bind { vec![NetOp::Bind, NetOp::Connect] } else { vec![NetOp::Connect] },
            to: vec![to],
            ports,
            protocols,
            source: source(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    // 1,000 policies x 12 requests = 12,000 cases.
    #[test]
    fn the_ranges_decide_as_the_rules_read(
        rules in prop::collection::vec(net_rule(), 0..8),
        requests in prop::collection::vec((address(), 0u16..26, prop_oneof![Just(6u8), Just(17), Just(132), Just(1)], any::<bool>()), 12),
    ) {
        let policy = policy(Vec::new(), rules);
        let (header, arena) = placed(&policy);
        for (address, port, protocol, bind) in requests {
            let op = if bind { NetOp::Bind } else { NetOp::Connect };
            let facts = NetFacts { op, protocol, port, address };
            let got = net::decide(&arena[..], &header, &facts).decision;
            prop_assert_eq!(got, decision(explain_net(&policy, &facts).effect), "{:?}", facts);
        }
    }
}

fn variables() -> crate::policy::Variables {
    crate::policy::Variables {
        home: "/home/u".into(),
        workspace: "/work[1]".into(),
        user: "u".into(),
        uid: 1000,
        tmp: "/tmp".into(),
    }
}

#[test]
fn every_shipped_policy_compiles() {
    for name in builtin_names() {
        let policy = load(name, builtin(name).expect("shipped"), &variables()).expect(name);
        compile(&policy).expect(name);
    }
}

#[test]
fn variables_match_only_themselves() {
    let text = builtin("coding-agent").expect("shipped");
    let policy = load("coding-agent", text, &variables()).expect("loads");
    let want = Access::READ;
    assert_eq!(explain_file(&policy, b"/work[1]/src/x", want).effect, Effect::Allow);
    assert_eq!(explain_file(&policy, b"/work1/src/x", want).effect, Effect::Deny);
    assert_eq!(explain_file(&policy, b"/work[1]/.env", want).effect, Effect::Deny);
}
