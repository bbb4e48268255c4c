//! Entries of the rings, one behind the other: decoded, named, written as JSON lines and read back.

#![no_main]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use agentguard::clock::Now;
use agentguard::daemon::owner::Owner;
use agentguard::daemon::registry::{Facts, Invocation, Source};
use agentguard::event::record::Record;
use agentguard::event::{Raw, enrich};
use agentguard::kernel::Level;
use agentguard::policy::model::Effect;
use agentguard::policy::{Chain, Explainer, Variables};
use agentguard_common::event::HEADER_BYTES;
use agentguard_common::file::Access;
use agentguard_common::invocation::Tag;
use agentguard_fuzz::{policy, rule};
use libfuzzer_sys::fuzz_target;

static INVOCATION: LazyLock<Invocation> = LazyLock::new(|| {
    let rules = vec![
        rule(Effect::Allow, "/a/**", Access::ALL),
        rule(Effect::Ask, "/a/*/[b-d]?", Access::WRITE),
        rule(Effect::Deny, "**/.env", Access::ALL),
    ];
    let own = || Arc::new(Explainer::new(Arc::new(policy(rules.clone()))));
    let variables = Variables {
        home: "/home/fuzz".into(),
        workspace: "/work".into(),
        user: "fuzz".into(),
        uid: 1,
        tmp: "/tmp".into(),
    };
    let source = Source { name: "fuzz".into(), document: String::new(), variables, version: None };
    let facts = Facts {
        agent: "fuzz".into(),
        principal: "fuzz".into(),
        task: String::new(),
        purpose: String::new(),
        parent: None,
        tool: None,
        delegation: Vec::new(),
        level: Level::Compat,
        degraded: false,
        started_ns: 0,
        expires_ns: u64::MAX,
        latest_ns: u64::MAX,
        pid: 1,
        uid: 0,
        cgroup: None,
        owner: Owner::default(),
        source: Arc::new(source),
    };
    let tag = Tag { slot: 1, generation: 1 };
    Invocation::new(uuid::Uuid::nil(), tag, facts, Arc::new(Chain(vec![own(), own()])), 1)
});

fuzz_target!(|input: &[u8]| {
    let mut exes = HashMap::new();
    let mut rest = input;
    while let Some(raw) = Raw::decode(rest) {
        rest = &rest[HEADER_BYTES + raw.path.len()..];
        let record = enrich(&raw, &INVOCATION, &INVOCATION.chain, &mut exes, Now::new());
        let line = serde_json::to_string(&record).expect("a record is JSON");
        assert!(!line.contains(char::is_control), "{line:?} is more than one line");
        let read: Record = serde_json::from_str(&line).expect("what was written can be read");
        assert_eq!(serde_json::to_string(&read).expect("a record is JSON"), line);
        assert!(!record.object.contains(char::is_control), "{:?}", record.object);
    }
});
