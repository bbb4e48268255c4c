//! `agentguard policy`: what people and CI see of it. No daemon, no kernel plane.

use agentguard_tests::Site;
use agentguard_tests::process::Finished;

/// Lines 1 to 13 of a policy without presets.
const POLICY: &str = r#"apiVersion: agentguard.dev/v1alpha1
kind: AgentPolicy
metadata: { name: ticket }
spec:
  ttl: 1h
  files:
    - { allow: [read, write], paths: ["${workspace}/**"] }
    - { deny: all, paths: ["**/.env"], reason: secrets }
    - { ask: delete, paths: ["${workspace}/answers/**"] }
    - { allow: exec, paths: ["/usr/bin/git"] }
  network:
    - { allow: connect, to: [10.1.0.0/16], ports: [443], protocol: tcp }
  tools: [{ name: git, paths: ["/usr/bin/git"] }]
"#;

const CASES: &str = r#"- { name: sources, operation: [read, write], object: "${workspace}/src/a", expect: allow, rule: "ticket:7" }
- { name: secrets, operation: read, object: "${workspace}/.env", expect: deny, rule: "ticket:8" }
- { name: answers, operation: delete, object: "${workspace}/answers/1", expect: ask, rule: "ticket:9" }
- { name: others, operation: read, object: /home/x, expect: deny, rule: none }
- { name: program, operation: exec, object: /usr/bin/git, expect: allow, tool: git }
- { name: socket, operation: connect, object: /run/docker.sock, expect: deny, rule: none }
- { name: bus, operation: connect, object: "@bus", expect: deny, rule: none }
- { name: service, operation: connect, object: "10.1.2.3:443", expect: allow, rule: "ticket:12" }
- { name: mapped, operation: connect, object: "[::ffff:10.1.2.3]:443", expect: allow }
- { name: other port, operation: connect, object: "10.1.2.3:80", expect: deny }
- { name: datagram, operation: connect, object: "10.1.2.3:443", protocol: udp, expect: deny }
- { name: stream of messages, operation: connect, object: "10.1.2.3:443", protocol: sctp, expect: deny }
- { name: server, operation: bind, object: "0.0.0.0:8080", expect: deny, rule: none }
"#;

fn policy(site: &Site, verb: &str, arguments: &[&str]) -> Finished {
    site.call(&[&["policy", verb], arguments, &["--workspace", "/work"]].concat())
}

#[track_caller]
fn ended(run: &Finished, status: i32, stdout: &str) {
    assert_eq!((run.status.code(), run.stdout.as_str()), (Some(status), stdout), "{run}");
}

#[test]
fn cases_that_hold_pass() {
    let site = Site::new();
    let (file, cases) = (site.file("ticket.yaml", POLICY), site.file("cases.yaml", CASES));
    let run = policy(&site, "test", &[&file, &cases]);
    let wanted = r#"ok    sources: read+write /work/src/a: allow by ticket:7: allow read+write "/work/**"
ok    secrets: read /work/.env: deny by ticket:8: deny all "**/.env"
ok    answers: delete /work/answers/1: ask by ticket:9: ask delete "/work/answers/**"
ok    others: read /home/x: deny by default deny: no rule allows it
ok    program: exec /usr/bin/git: allow by ticket:10: allow exec "/usr/bin/git", as tool git
ok    socket: connect /run/docker.sock: deny by default deny: no rule allows it
ok    bus: connect @bus: deny by default deny: no rule allows it
ok    service: connect 10.1.2.3:443: allow by ticket:12: allow connect 10.1.0.0/16 port 443 tcp
ok    mapped: connect [::ffff:10.1.2.3]:443: allow by ticket:12: allow connect 10.1.0.0/16 port 443 tcp
ok    other port: connect 10.1.2.3:80: deny by default deny: no rule allows it
ok    datagram: connect 10.1.2.3:443 udp: deny by default deny: no rule allows it
ok    stream of messages: connect 10.1.2.3:443 sctp: deny by no such socket without the privilege raw-socket
ok    server: bind 0.0.0.0:8080: deny by default deny: no rule allows it
13 cases, 13 ok, 0 failed
"#;
    ended(&run, 0, wanted);
    let run = policy(&site, "test", &[&file, &cases, "--json"]).success();
    let outcomes: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(outcomes[1]["answer"]["rule"]["reason"], "secrets", "{run}");
    assert_eq!(outcomes.as_array().map(Vec::len), Some(13), "{run}");
}

#[test]
fn cases_that_do_not_hold_are_named_and_fail() {
    let site = Site::new();
    let file = site.file("ticket.yaml", POLICY);
    let cases = r#"
- { name: open, operation: read, object: /work/.env, expect: allow, rule: "ticket:7" }
- { name: fine, operation: read, object: /work/a, expect: allow }
- { name: tool, operation: exec, object: /usr/bin/git, expect: allow, tool: hub }
"#;
    let cases = site.file("cases.yaml", cases);
    let run = policy(&site, "test", &[&file, &cases]);
    let wanted = format!(
        r#"FAIL  open ({cases}:2): read /work/.env: deny by ticket:8: deny all "**/.env"
      expected decision allow, got deny
      expected rule ticket:7, got ticket:8
ok    fine: read /work/a: allow by ticket:7: allow read+write "/work/**"
FAIL  tool ({cases}:4): exec /usr/bin/git: allow by ticket:10: allow exec "/usr/bin/git", as tool git
      expected tool hub, got git
3 cases, 1 ok, 2 failed
"#
    );
    ended(&run, 1, &wanted);
}

#[test]
fn a_test_without_an_answer_ends_otherwise_than_one_that_fails() {
    let site = Site::new();
    let file = site.file("ticket.yaml", POLICY);
    let bad = site.file("bad.yaml", "- { name: a, operation: reed, object: /a, expect: deny }\n");
    let cases = site.file("cases.yaml", CASES);
    for (policy_file, cases, said) in [
        (
            file.as_str(),
            bad.as_str(),
            format!("{bad}:1:25: unknown operation `reed`\nhint: did you mean `read`?\n"),
        ),
        (&file, "/nowhere.yaml", "/nowhere.yaml".into()),
        ("no-such-policy", &cases, "no shipped policy".into()),
        (&bad, &cases, format!("{bad}:1:1: ")),
    ] {
        let run = policy(&site, "test", &[policy_file, cases]);
        ended(&run, 2, "");
        assert!(run.stderr.contains(&said), "not said: {said:?}\n{run}");
    }
}

#[test]
fn differences_are_told_by_meaning() {
    let site = Site::new();
    let old = site.file("old.yaml", POLICY);
    let new = POLICY
        .replace("ttl: 1h", "ttl: 30m\n  maxTtl: 1h")
        .replace("[read, write], paths: [\"${workspace}/**\"]", "read, paths: [\"${workspace}/**\"]")
        .replace("ports: [443]", "ports: [443, 80]")
        .replace(
            "name: git, paths: [\"/usr/bin/git\"]",
            "name: git, paths: [\"/usr/bin/git\"], privileges: [perf]",
        );
    let new = site.file("new.yaml", &new);
    let run = policy(&site, "diff", &[&old, &new]);
    assert_eq!(run.status.code(), Some(1), "{run}");
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(
        lines[0].starts_with("--- ticket sha256:") && lines[1].starts_with("+++ ticket sha256:"),
        "{run}"
    );
    let wanted = [
        "~ ttl: 1h -> 30m",
        r#"- allow write "/work/**" (ticket:7)"#,
        "- allow connect 10.1.0.0/16 port 443 tcp (ticket:12)",
        "+ allow connect 10.1.0.0/16 port 443 port 80 tcp (ticket:13)",
        "+ tool git: privileges: perf",
    ];
    assert_eq!(lines[2..], wanted, "{run}");
    let json = policy(&site, "diff", &[&old, &new, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["differences"][0]["field"], "ttl");
    assert_eq!(json["differences"][1]["rule"]["access"][0], "write");
}

#[test]
fn the_same_policies_differ_in_nothing() {
    let site = Site::new();
    let (a, b) = (
        site.file("a.yaml", POLICY),
        site.file("b.yaml", &POLICY.replace("[read, write]", "[write, read] ")),
    );
    ended(&policy(&site, "diff", &[&a, &b]), 0, "");
    ended(&policy(&site, "diff", &["coding-agent", "coding-agent"]), 0, "");
    let run = policy(&site, "diff", &["coding-agent", "build-runner"]);
    assert_eq!(run.status.code(), Some(1), "{run}");
    assert!(run.stdout.contains("~ ttl: 8h -> 2h\n"), "{run}");
    let run = policy(&site, "diff", &["-", "-"]);
    ended(&run, 2, "");
    assert!(run.stderr.contains("hint:"), "{run}");
    let mut piped = site.agentguard();
    piped.args(["policy", "diff", "-", &a, "--workspace", "/work"]);
    piped.stdin(std::fs::File::open(&b).expect("written")).stdout(std::process::Stdio::null());
    assert_eq!(piped.status().expect("starts").code(), Some(0));
}

#[test]
fn one_question_gets_verdict_and_rule() {
    let site = Site::new();
    let file = site.file("ticket.yaml", POLICY);
    let explain = |arguments: &[&str]| policy(&site, "explain", &[&[file.as_str()], arguments].concat());
    ended(&explain(&["read,write", "/work/a"]), 0, "allow by ticket:7: allow read+write \"/work/**\"\n");
    ended(&explain(&["delete", "/work/a"]), 0, "deny by default deny: no rule allows it\n");
    ended(
        &explain(&["exec", "/usr/bin/git"]),
        0,
        "allow by ticket:10: allow exec \"/usr/bin/git\", as tool git\n",
    );
    let udp = explain(&["connect", "10.1.0.1:443", "--protocol", "udp", "--json"]).success();
    let udp: serde_json::Value = serde_json::from_str(&udp.stdout).expect("JSON");
    assert_eq!((&udp["decision"], &udp["rule"]), (&"deny".into(), &serde_json::Value::Null));
    let run = explain(&["read", "work/a"]);
    ended(&run, 1, "");
    assert_eq!(
        run.stderr,
        "agentguard: error: `work/a` is no path and no abstract socket\nhint: a path as the kernel sees it: absolute, \
         without `.`, `..`, `//` or a `/` at the end\n"
    );
}

#[test]
fn unknown_subjects_are_pointed_at() {
    let site = Site::new();
    let text = POLICY.replace("  ttl: 1h", "  ttl: 1h\n  subjects: { users: [root, no-such-user] }");
    let file = site.file("ticket.yaml", &text);
    let run = site.call(&["policy", "check", &file]).failure();
    assert!(run.stderr.contains(&format!("{file}:6:29: no user is called `no-such-user`\nhint:")), "{run}");
}

#[test]
fn check_lists_tools_and_that_level_compat_has_none() {
    let site = Site::new();
    let file = site.file("ticket.yaml", POLICY);
    let run = site.call(&["policy", "check", &file]).success();
    assert!(run.stdout.contains("\ntool git: "), "{run}");
    assert!(
        run.stdout.contains("level compat cannot enforce ticket:13: tool git [\"/usr/bin/git\"]"),
        "{run}"
    );
}
