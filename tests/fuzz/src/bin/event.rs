//! Entries of the rings, one behind the other: decoded, named, written as JSON lines and read back.

#![no_main]

use std::sync::{Arc, LazyLock};

use agentguard::clock::Now;
use agentguard::daemon::owner::Owner;
use agentguard::daemon::registry::{Facts, Invocation, Source};
use agentguard::event::record::{self, Record, Rendered, When};
use agentguard::event::{Exes, Raw, enrich};
use agentguard::kernel::Level;
use agentguard::policy::model::Effect;
use agentguard::policy::{Chain, Explainer, Variables};
use agentguard_common::event::HEADER_BYTES;
use agentguard_common::file::Access;
use agentguard_common::invocation::Tag;
use agentguard_fuzz::{policy, rule};
use libfuzzer_sys::fuzz_target;
use zerocopy::IntoBytes as _;

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

static WHOSE: LazyLock<Rendered> = LazyLock::new(|| INVOCATION.whose().render().expect("JSON"));

fuzz_target!(|input: &[u8]| {
    let (mut exes, mut now, mut whose) = (Exes::default(), Now::new(), WHOSE.clone());
    let mut words = vec![0u64; input.len().div_ceil(size_of::<u64>())];
    words.as_mut_bytes()[..input.len()].copy_from_slice(input);
    let mut rest = words.as_bytes();
    while let Some(raw) = Raw::decode(rest) {
        rest = &rest[(HEADER_BYTES + raw.path.len()).next_multiple_of(size_of::<u64>())..];
        let header = raw.header;
        let when =
            When { time: now.utc(header.time_ns).into(), boot_ns: header.time_ns, seq: Some(header.seq) };
        let what = enrich(&raw, &INVOCATION.chain, &mut exes);
        let mut line = Vec::new();
        record::add_line(&mut line, &when, &mut whose, &what).expect("a record is JSON");
        assert!(!what.object.contains(char::is_control), "{:?}", what.object);
        exes.forget(&raw);
        let text = str::from_utf8(&line).expect("UTF-8").strip_suffix('\n').expect("a line");
        assert!(!text.contains(char::is_control), "{text:?} is more than one line");
        let read: Record<'_> = serde_json::from_str(text).expect("what was written can be read");
        let mut again = Vec::new();
        read.add_line(&mut again).expect("a record is JSON");
        assert_eq!(again, line);
    }
});
