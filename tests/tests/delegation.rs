//! Authority that is handed on only narrows, is visible on every event, and ends with where it came from.

use std::process::Stdio;

use agentguard_tests::agent::announced;
use agentguard_tests::events::Event;
use agentguard_tests::site::binary;
use agentguard_tests::{Policy, Site};

/// A policy under which an agent may start others, and read and write what `files` say.
fn policy(site: &Site, name: &str, files: &str, rest: &str) -> Policy {
    let own = format!(
        "    - allow: [read, exec]\n      paths: [\"{}\"]\n    - allow: [read]\n      paths: [\"{}/**\"]\n{files}",
        binary().display(),
        site.at("policies")
    );
    site.policy(name, &own, rest)
}

/// A policy document where agents may read it.
fn shown(site: &Site, policy: &Policy) -> String {
    site.file(&format!("policies/{}.yaml", policy.name), policy.text())
}

/// The command line by which an agent starts another.
fn run(site: &Site, policy: &str, options: &str) -> String {
    let socket = site.socket();
    format!("{} --socket {} run --policy {policy} {options} --", binary().display(), socket.display())
}

fn rule(access: &str, path: &str) -> String {
    format!("    - allow: [{access}]\n      paths: [\"{path}\"]\n")
}

#[test]
fn a_sub_agent_may_do_what_it_and_its_parent_may() {
    let site = Site::served();
    let [a, b, c] = ["a", "b", "c"].map(|name| site.file(&format!("outside/{name}"), "x"));
    let parent = policy(&site, "parent", &format!("{}{}", rule("read", &a), rule("read", &b)), "");
    let child = policy(&site, "child", &format!("{}{}", rule("read", &b), rule("read", &c)), "");
    let inner = run(&site, &shown(&site, &child), "--agent inner --purpose help");
    let script = format!(
        "cat {a} > /dev/null; {inner} /usr/bin/bash -c 'for f in {a} {b} {c}; do cat $f; done; true'; cat {a} > /dev/null"
    );
    let outer =
        site.agent(&parent).options(&["--agent", "outer", "--principal", "svc:tickets", "--task", "T-7"]);
    let out = outer.bash(&script).success();
    assert_eq!(out.stdout, "x", "{out}");
    let ids = announced(&out.stderr);
    assert_eq!(ids.len(), 2, "{out}");
    site.log().until_end(&ids[1]);
    // Of what both deny, the uppermost says so.
    for (path, decided) in [(&a, ""), (&c, "parent")] {
        let event = site.log().denial(&ids[1], "open", path);
        event.by_default();
        assert_eq!(event.text("/delegation/0/agent"), "outer", "{event}");
        assert_eq!(event.text("/delegation/0/invocation"), ids[0], "{event}");
        assert_eq!((event.text("/principal"), event.text("/task")), ("svc:tickets", "T-7"), "{event}");
        assert_eq!(event.text("/rule/policy"), decided, "{event}");
    }
    // The parent itself kept what it had, before and after.
    let denied = site.log().until_end(&ids[0]).into_iter().any(|e: Event| e.is_denial());
    assert!(!denied, "the parent was denied something");
}

#[test]
fn chains_are_at_least_eight_deep() {
    let site = Site::served();
    let policy = policy(&site, "link", "", "  ttl: 1h");
    let document = shown(&site, &policy);
    let mut command = format!("{} --socket {} whoami --json", binary().display(), site.socket().display());
    for depth in (1..8).rev() {
        command = format!("{} {command}", run(&site, &document, &format!("--agent a{depth}")));
    }
    let arguments: Vec<&str> = command.split(' ').collect();
    let out = site.agent(&policy).options(&["--agent", "a0"]).run(arguments).success();
    let whoami: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let steps: Vec<_> =
        whoami["delegation"].as_array().expect("steps").iter().map(|s| s["agent"].clone()).collect();
    assert_eq!(steps, (0..7).map(|n| format!("a{n}")).collect::<Vec<_>>(), "{out}");
    assert_eq!(whoami["agent"], "a7");
    let ids = announced(&out.stderr);
    assert_eq!(ids.len(), 8);
    // All ran in the one process, which each of them left for the next.
    for id in &ids {
        site.log().until_end(id);
    }
    let exec = site.log().of(&ids[7]);
    let event = exec.iter().find(|e| e.text("/action") == "executed").expect("an execution");
    assert_eq!(event.0["delegation"].as_array().map(Vec::len), Some(7), "{event}");
}

#[test]
fn a_sub_agent_never_outlives_its_parents_time() {
    let site = Site::served();
    let parent = policy(&site, "parent", "", "  ttl: 5m");
    let child = policy(&site, "child", "", "  ttl: 10h");
    let inner = run(&site, &shown(&site, &child), "--ttl 9h");
    let whoami = format!("{} --socket {} whoami --json", binary().display(), site.socket().display());
    let out = site.agent(&parent).bash(&format!("{inner} {whoami}")).success();
    let whoami: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let left = whoami["expires_in_s"].as_u64().expect("it expires");
    assert!(left <= 300, "{left} s left");
}

#[test]
fn an_agent_acts_for_nobody_else() {
    let site = Site::served();
    let policy = policy(&site, "plain", "", "");
    let inner = run(&site, &shown(&site, &policy), "--principal user:somebody");
    let out = site.agent(&policy).options(&["--principal", "svc:a"]).bash(&format!("{inner} /usr/bin/true"));
    assert_eq!(out.status.code(), Some(125), "{out}");
    assert!(out.stderr.contains("an invocation acts for svc:a"), "{out}");
}

#[test]
fn revoking_an_agent_revokes_whom_it_started() {
    let site = Site::served();
    let policy = policy(&site, "plain", "", "");
    let inner = run(&site, &shown(&site, &policy), "--agent inner");
    let script = format!("{inner} /usr/bin/sleep 100000 & wait");
    let outer = site.agent(&policy).options(&["--agent", "outer"]);
    let running = outer.spawn_on(Stdio::piped(), &["/usr/bin/bash", "-c", &script]);
    let ids: [String; 2] = running.invocations();
    let done = site.call(&["revoke", "--kill", &ids[0]]).success();
    let revoked: Vec<_> = done.stdout.lines().filter_map(|l| l.strip_prefix("revoked ")).collect();
    assert_eq!(revoked, ids, "{done}");
    for id in &ids {
        assert_eq!(site.log().lifecycle(id, "revoke").text("/reason"), "revoked");
        site.log().until_end(id);
    }
}

#[test]
fn a_parent_is_over_after_those_that_it_started() {
    let site = Site::served();
    let policy = policy(&site, "plain", "", "");
    let inner = run(&site, &shown(&site, &policy), "--agent inner");
    // The outer shell becomes the inner agent, so that nothing of the outer one is left.
    let out = site.agent(&policy).bash(&format!("exec {inner} /usr/bin/true")).success();
    let ids = announced(&out.stderr);
    site.log().until_end(&ids[0]);
    let ends: Vec<_> = site.log().events().into_iter().filter(|e| e.text("/action") == "end").collect();
    let at = |id: &str| ends.iter().position(|e| e.invocation() == id).expect("an end");
    assert!(at(&ids[1]) < at(&ids[0]), "the parent ended first");
}

#[test]
fn a_process_with_several_threads_is_not_made_an_agent() {
    let site = Site::served();
    let policy = policy(&site, "plain", "", "");
    let script = format!(
        r"
import json, socket, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
s = socket.socket(socket.AF_UNIX)
s.connect({socket:?})
body = json.dumps(dict(policy_name='x', policy={document:?}, agent='x', allow_degraded=True,
    variables=dict(home='/root', workspace='/', user='root', uid=0, tmp='/tmp')))
s.sendall(('POST /v1/invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n'
    f'Content-Length: {{len(body)}}\r\n\r\n{{body}}').encode())
answer = b''
while part := s.recv(4096):
    answer += part
print(answer.decode())
",
        socket = site.socket(),
        document = policy.text()
    );
    let out = site.finish(std::process::Command::new(agentguard_tests::agent::PYTHON).args(["-c", &script]));
    assert!(out.stdout.contains("the caller has 2 threads"), "{out}");
}
