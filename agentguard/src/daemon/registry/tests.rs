use super::*;

/// An active invocation in `slot`.
fn invocation(slot: u32, generation: u32) -> Invocation {
    let variables = Variables {
        home: "/home".into(),
        workspace: "/work".into(),
        user: "root".into(),
        uid: 0,
        tmp: "/tmp".into(),
    };
    let source = Source { name: "p".into(), document: String::new(), variables, version: None };
    let facts = Facts {
        agent: "a".into(),
        principal: "svc:p".into(),
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
    Invocation::new(Uuid::now_v7(), Tag { slot, generation }, facts, Arc::default(), 1)
}

#[test]
fn when_all_slots_are_in_use_nothing_more_starts_until_one_is_over() {
    let mut registry = Registry::default();
    for _ in 1..MAX_INVOCATIONS {
        let slot = registry.free_slot().expect("one is free");
        assert!((1..MAX_INVOCATIONS).contains(&slot) && !registry.by_slot.contains_key(&slot), "{slot}");
        registry.insert(invocation(slot, 1));
    }
    let refused = registry.free_slot().expect_err("none is free").to_string();
    assert_eq!(
        refused,
        "all 65535 slots for invocations are in use; hint: agentguard ps, agentguard revoke --kill"
    );
    let (over, barred) = (Tag { slot: 4711, generation: 1 }, Tag { slot: 4712, generation: 1 });
    let before = registry.get(over).expect("it lives").id;
    assert!(registry.bar(barred, State::Revoked).is_some());
    assert!(registry.free_slot().is_err(), "the slot of one that is barred is not free: its tasks live");
    assert!(registry.end(over));
    assert_eq!(registry.free_slot().expect("one is free"), 4711);
    registry.insert(invocation(4711, 2));
    assert!(registry.free_slot().is_err());
    assert!(registry.get(over).is_none() && registry.by_id(before).is_none(), "the slot is another's");
    assert_eq!(registry.live().count(), MAX_INVOCATIONS as usize - 1);
}

#[test]
fn what_is_barred_is_counted_until_it_is_over() {
    let mut registry = Registry::default();
    let tags = [1, 2, 3].map(|slot| invocation(slot, 1)).map(|i| {
        let tag = i.tag;
        registry.insert(i);
        tag
    });
    let adopted = Invocation { state: State::Revoked, ..invocation(4, 1) };
    let revoked = adopted.tag;
    registry.insert(adopted);
    assert!(registry.has_barred());
    assert!(registry.end(revoked) && !registry.has_barred());
    assert!(
        registry.bar(tags[0], State::Expired).is_some() && registry.bar(tags[0], State::Revoked).is_none()
    );
    assert!(registry.end(tags[1]) && registry.has_barred());
    assert!(registry.end(tags[0]) && !registry.has_barred() && registry.busy());
}
