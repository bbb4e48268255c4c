//! Policies that the daemon keeps: pushed, in force at once for what runs, listed, and rolled back.

use agentguard_tests::loopback::Listener;
use agentguard_tests::site::binary;
use agentguard_tests::{Level, Policy, Site};

/// A policy that allows connecting to these ports of loopback.
fn ports(site: &Site, name: &str, ports: &[u16]) -> Policy {
    let rest = if ports.is_empty() {
        String::new()
    } else {
        format!("  network:\n    - allow: connect\n      to: [loopback]\n      ports: {ports:?}\n")
    };
    site.policy(name, "", &rest)
}

/// Pushes a policy. Returns what was printed.
fn push(site: &Site, policy: &Policy) -> String {
    let file = site.file(&format!("outside/{}.yaml", policy.name), policy.text());
    site.call(&["policy", "push", &file]).success().stdout
}

#[test]
fn a_pushed_version_is_in_force_for_what_runs() {
    const NET: &str = "net";
    let site = Site::served();
    let (a, b) = (Listener::on("127.0.0.1"), Listener::on("127.0.0.1"));
    let [to_a, to_b] = [&a, &b].map(|l| format!("127.0.0.1:{}", l.port()));
    let mut puppet = site.agent(ports(&site, NET, &[a.port()])).puppet();
    let id = puppet.invocation();
    assert_eq!([puppet.attempt("connect", &to_a), puppet.attempt("connect", &to_b)], ["ok", "EPERM"]);
    let said = push(&site, &ports(&site, NET, &[b.port()]));
    assert!(said.contains("net version 1 sha256:") && said.contains(&format!("in force for {id}")), "{said}");
    assert_eq!([puppet.attempt("connect", &to_a), puppet.attempt("connect", &to_b)], ["EPERM", "ok"]);
    let before = site.log().denial_with_digest(&id, &to_b);
    let after = site.log().denial_with_digest(&id, &to_a);
    assert_ne!(before, after, "each denial names the version that decided");
    assert!(said.contains(&after), "{said}");

    // Back again: the stored version is the only one that differs, so the first push is the oldest.
    push(&site, &ports(&site, NET, &[a.port(), b.port()]));
    assert_eq!([puppet.attempt("connect", &to_a), puppet.attempt("connect", &to_b)], ["ok", "ok"]);
    let rolled = site.call(&["policy", "rollback", "net"]).success().stdout;
    assert!(rolled.contains("net version 3"), "{rolled}");
    assert_eq!([puppet.attempt("connect", &to_a), puppet.attempt("connect", &to_b)], ["EPERM", "ok"]);
    let history = site.call(&["policy", "history", "net"]).success().stdout;
    assert_eq!(history.lines().count(), 4, "{history}");
    let shown = site.call(&["policy", "show", "net", "--version", "2"]).success().stdout;
    assert!(shown.contains(&a.port().to_string()) && shown.contains(&b.port().to_string()), "{shown}");
    puppet.dismiss();
    site.log().until_end(&id);
}

#[test]
fn rules_for_files_change_where_the_level_can_change_them() {
    let site = Site::served();
    let file = site.file("outside/file", "x");
    let rule = format!("    - allow: read\n      paths: [\"{file}\"]\n");
    let mut puppet = site.agent(site.policy("files", &rule, "")).puppet();
    let id = puppet.invocation();
    assert_eq!(puppet.attempt("read", &file), "ok");
    let said = push(&site, &site.policy("files", "", ""));
    match Level::expected() {
        Level::Lsm => {
            assert!(said.contains(&format!("in force for {id}\n")), "{said}");
            assert_eq!(puppet.attempt("read", &file), "EACCES");
        }
        Level::Compat => {
            assert!(said.contains("network only"), "what is not enforced is said: {said}");
            let event = site.log().lifecycle(&id, "policy");
            assert_eq!(event.0["degraded"], true, "{event}");
            assert_eq!(event.text("/detail/not_changed/0"), "files", "{event}");
        }
    }
}

#[test]
fn what_a_sub_agent_may_changes_with_its_parent() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let program = binary().display().to_string();
    let own = format!("    - allow: [read, exec]\n      paths: [\"{program}\"]\n");
    let net = |ports: &str| format!("  network:\n    - allow: connect\n      to: [loopback]\n{ports}");
    let child = site.policy("child", &own, &net(""));
    let file = site.file("workspace/child.yaml", child.text());
    let readable = format!("{own}    - allow: read\n      paths: [\"{file}\"]\n");
    let parent = site.policy("parent", &readable, &net(""));
    let socket = site.socket().display().to_string();
    let (mut puppet, ids) =
        site.agent(&parent).nested_puppet(&[&program, "--socket", &socket, "run", "--policy", &file]);
    let to = format!("127.0.0.1:{}", listener.port());
    assert_eq!(puppet.attempt("connect", &to), "ok");
    let said = push(&site, &site.policy("parent", &readable, &net("      ports: [9]\n")));
    assert!(ids.iter().all(|id| said.contains(id.as_str())), "{said}");
    assert_eq!(puppet.attempt("connect", &to), "EPERM");
}

#[test]
fn a_run_by_name_takes_the_newest_version_and_its_subjects() {
    let site = Site::served();
    push(&site, &site.policy("mine", "", "  subjects:\n    users: [root]\n"));
    let run = site.agent("mine").run(["/usr/bin/true"]).success();
    let start = site.log().lifecycle(&run.invocation(), "start");
    assert_eq!(start.text("/policy"), "mine");
    use std::os::unix::process::CommandExt as _;
    let mut command = site.agent("mine").command(["/usr/bin/true"]);
    let refused = site.finish(command.uid(65534).gid(65534));
    assert_eq!(refused.status.code(), Some(125), "{refused}");
    assert!(refused.stderr.contains("65534"), "{refused}");
    push(&site, &site.policy("mine", "", "  subjects:\n    users: [root, nobody]\n"));
    let mut command = site.agent("mine").command(["/usr/bin/true"]);
    let _allowed = site.finish(command.uid(65534).gid(65534)).success();
}

#[test]
fn a_policy_with_a_mistake_changes_nothing() {
    const NET: &str = "mistaken";
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let to = format!("127.0.0.1:{}", listener.port());
    let mut puppet = site.agent(ports(&site, NET, &[listener.port()])).puppet();
    let broken = site.policy(NET, "", "  network:\n    - allow: connect\n      to: [nowhere]\n");
    let file = site.file("outside/broken.yaml", broken.text());
    let refused = site.call(&["policy", "push", &file]).failure();
    assert!(refused.stderr.contains("nowhere") && refused.stderr.contains("broken.yaml:"), "{refused}");
    assert_eq!(puppet.attempt("connect", &to), "ok");
    let none = site.call(&["policy", "history", NET]).failure();
    assert!(none.stderr.contains("no policy \"mistaken\" was pushed"), "{none}");
}

#[test]
fn a_policy_outlives_the_daemon() {
    let site = Site::new();
    let daemon = site.daemon();
    push(&site, &site.policy("kept", "", "  ttl: 77m"));
    daemon.kill();
    site.unpin();
    let _next = site.daemon();
    let listed = site.call(&["policy", "list"]).success().stdout;
    assert!(listed.contains("kept"), "{listed}");
    let shown = site.call(&["policy", "show", "kept"]).success().stdout;
    assert!(shown.contains("ttl: 77m"), "{shown}");
}

#[test]
fn explain_says_what_the_kernel_would() {
    const NET: &str = "explained";
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let policy = ports(&site, NET, &[listener.port()]);
    let mut puppet = site.agent(&policy).puppet();
    let id = puppet.invocation();
    for port in [listener.port(), 9] {
        let to = format!("127.0.0.1:{port}");
        let said = site.call(&["explain", &id, "connect", &to]).success().stdout;
        let allowed = puppet.attempt("connect", &to) == "ok";
        assert_eq!(said.starts_with("allow (rule) by policy explained: explained:"), allowed, "{said}");
        assert_eq!(said.starts_with("deny (no-rule)"), !allowed, "{said}");
    }
}

#[test]
fn life_is_extended_as_far_as_the_policy_allows_and_never_revived() {
    let site = Site::served();
    let puppet = site.agent(site.policy("short", "", "  ttl: 5m\n  maxTtl: 20m")).puppet();
    let id = puppet.invocation();
    let left = || {
        let text = site.call(&["ps", "--json"]).success().stdout;
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        all.iter().find(|i| i["invocation"] == id.as_str()).expect("listed")["expires_in_s"].as_u64()
    };
    assert!(left() <= Some(300));
    let _longer = site.call(&["extend", &id, "--ttl", "10m"]).success();
    assert!((301..=600).contains(&left().expect("it expires")));
    let bounded = site.call(&["extend", &id, "--ttl", "8h"]).success();
    assert!(bounded.stdout.contains("the most that its policy"), "{bounded}");
    assert!((601..=1200).contains(&left().expect("it expires")));
    let _revoked = site.call(&["revoke", "--kill", &id]).success();
    let refused = site.call(&["extend", &id, "--ttl", "10m"]).failure();
    assert!(refused.stderr.contains("is not revived"), "{refused}");
}
