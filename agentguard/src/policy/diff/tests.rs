use super::*;
use crate::policy::{Variables, load};

fn read(spec: &str) -> Policy {
    let path = |p: &str| p.to_owned();
    let variables = Variables {
        home: path("/home/u"),
        workspace: path("/w"),
        user: path("u"),
        uid: 1000,
        tmp: path("/tmp"),
    };
    let head = "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: t}\nspec:\n";
    load("t.yaml", &format!("{head}{spec}\n"), &variables).unwrap_or_else(|e| panic!("{spec}\n{e}"))
}

fn lines(a: &str, b: &str) -> Vec<String> {
    diff(&read(a), &read(b)).iter().map(ToString::to_string).collect()
}

#[test]
fn the_same_meaning_written_otherwise_is_no_difference() {
    for (a, b) in [
        (
            "  files: [{allow: [read, write], paths: [/a, /b]}]",
            "  files: [{allow: write, paths: [/b, /a]}, {allow: read, paths: [/b, /a, /a], reason: x}]",
        ),
        (
            "  files: [{deny: read, paths: [\"/x/{a,b}\"]}]",
            "  files: [{deny: read, paths: [/x/b]}, {deny: read, paths: [/x/a]}]",
        ),
        (
            "  network: [{allow: all, to: [any], ports: [80, 443]}]",
            "  network:\n    - {allow: bind, to: [\"::/0\", 0.0.0.0/0], ports: [443, 80], protocol: [udp, tcp]}\n    - {allow: connect, to: [any], ports: [80, 443]}",
        ),
        ("  ttl: 1h", "  ttl: 60m\n  maxTtl: 3600s"),
        ("  privileges: [bpf, perf]", "  privileges: [perf, bpf, bpf]"),
        ("  subjects: {users: [a, b]}", "  subjects: {users: [b, a], groups: []}"),
    ] {
        assert_eq!(lines(a, b), Vec::<String>::new(), "{a}\n{b}");
        assert_eq!(lines(b, a), Vec::<String>::new(), "{b}\n{a}");
    }
}

#[test]
fn rules_differ_by_the_part_that_the_other_lacks() {
    for (a, b, want) in [
        (
            "  files: [{allow: [read, write], paths: [/a]}]",
            "  files: [{allow: read, paths: [/a]}]",
            "- allow write \"/a\" (t:5)",
        ),
        (
            "  files: [{allow: read, paths: [\"/x/{a,b,c}\"]}]",
            "  files: [{allow: read, paths: [\"/x/{a,c}\"]}]",
            "- allow read \"/x/b\" (t:5)",
        ),
        (
            "  mode: enforce",
            "  files: [{deny: all, paths: [\"/x/{a,b}\"], reason: why}]",
            "+ deny all \"/x/{a,b}\" (t:5: why)",
        ),
        (
            "  files: [{allow: read, paths: [/a]}]",
            "  files: [{ask: read, paths: [/a]}]",
            "- allow read \"/a\" (t:5)|+ ask read \"/a\" (t:5)",
        ),
        (
            "  network: [{allow: connect, to: [10.0.0.0/8, 10.1.0.0/16]}]",
            "  network: [{allow: connect, to: [10.0.0.0/8]}]",
            "- allow connect 10.1.0.0/16 (t:5)",
        ),
        (
            "  network: [{allow: all, to: [10.0.0.0/8]}]",
            "  network: [{allow: bind, to: [10.0.0.0/8]}]",
            "- allow connect 10.0.0.0/8 (t:5)",
        ),
        (
            "  network: [{allow: connect, to: [10.0.0.1], ports: [80]}]",
            "  network: [{allow: connect, to: [10.0.0.1], ports: [80], protocol: tcp}]",
            "- allow connect 10.0.0.1/32 port 80 (t:5)|+ allow connect 10.0.0.1/32 port 80 tcp (t:5)",
        ),
    ] {
        assert_eq!(lines(a, b).join("|"), want, "{a}\n{b}");
    }
}

#[test]
fn values_and_lists_differ_by_name() {
    for (a, b, want) in [
        ("  mode: enforce", "  mode: audit", "~ mode: enforce -> audit"),
        ("  ttl: 8h", "  ttl: 90s\n  maxTtl: 8h", "~ ttl: 8h -> 90s"),
        ("  ttl: 2d", "  mode: enforce", "~ ttl: 2d -> none|~ maxTtl: 2d -> none"),
        ("  mode: enforce", "  logAllowed: true", "~ logAllowed: false -> true"),
        ("  privileges: [bpf]", "  privileges: [perf]", "- privileges: bpf|+ privileges: perf"),
        ("  subjects: {users: [a, 7]}", "  mode: enforce", "~ subjects: user 7, user a -> anybody"),
        (
            "  environment: {pass: [A]}",
            "  environment: {pass: [B], set: {C: d}}",
            "- environment.pass: A|+ environment.pass: B|~ environment.set.C: none -> \"d\"",
        ),
    ] {
        assert_eq!(lines(a, b).join("|"), want, "{a}\n{b}");
    }
}

#[test]
fn tools_differ_by_their_rules() {
    let tools = |more: &str| {
        format!("  tools:\n    - {{name: a, paths: [/a], files: [{{allow: read, paths: [/x]}}]}}\n{more}")
    };
    assert_eq!(lines(&tools(""), &tools("    - {name: b, paths: [/b]}")), ["+ tools: b"]);
    let other =
        "  tools:\n    - {name: a, paths: [/a, /c], mode: audit, files: [{allow: read, paths: [/y]}]}";
    let want = [
        "+ tool a: paths: /c",
        "~ tool a: mode: enforce -> audit",
        "- tool a: allow read \"/x\" (t:6)",
        "+ tool a: allow read \"/y\" (t:6)",
    ];
    assert_eq!(lines(&tools(""), other), want);
    let (ab, ba) = (
        "  tools: [{name: a, paths: [/a]}, {name: b, paths: [/b]}]",
        "  tools: [{name: b, paths: [/b]}, {name: a, paths: [/a]}]",
    );
    assert_eq!(lines(ab, ba), ["~ order of tools: a, b -> b, a"]);
}
