use super::*;

const HEAD: &str = "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: t}\nspec:\n";

fn variables() -> Variables {
    let path = |p: &str| p.to_owned();
    Variables { home: path("/home/u"), workspace: path("/w"), user: path("u"), uid: 1000, tmp: path("/tmp") }
}

/// Lines of `spec`, from line 5 on.
fn spec(body: &str) -> String {
    format!("{HEAD}{body}\n")
}

fn digest(yaml: &str) -> String {
    load("t.yaml", yaml, &variables()).unwrap_or_else(|e| panic!("{yaml}\n{e}")).digest
}

fn refuses(yaml: &str, (line, column): (u64, u64), message: &str, hint: &str) {
    let error = load("t.yaml", yaml, &variables()).expect_err(yaml);
    assert_eq!((error.line, error.column), (line, column), "{yaml}\n{error}");
    assert!(error.message.contains(message), "{yaml}\n{error}");
    assert!(error.hint.as_ref().is_some_and(|h| h.contains(hint)), "{yaml}\n{error}");
}

#[test]
fn mistakes_of_form_have_a_place_and_a_hint() {
    for (body, at, message, hint) in [
        ("  filez: []", (5, 3), "unknown field `filez`", "did you mean `files`?"),
        ("  sandbox: []", (5, 3), "unknown field `sandbox`", "one of mode, ttl"),
        (
            "  files:\n    - {allow: read, path: [/a]}",
            (6, 21),
            "unknown field `path`",
            "did you mean `paths`?",
        ),
        ("  environment: {passs: [A]}", (5, 17), "unknown field `passs`", "did you mean `pass`?"),
        ("  files:\n    - allow: read", (6, 7), "missing field `paths`", "add `paths:`"),
        ("  mode: enforse", (5, 9), "unknown value `enforse`", "did you mean `enforce`?"),
        ("  mode: audit\n  mode: audit", (6, 3), "duplicate key `mode`", "merge the two"),
        ("  logAllowed: yes", (5, 15), "wrong type", "true or false"),
        ("  files: /a", (5, 10), "wrong type", "sequence"),
        ("  files: [{allow: {read: 1}, paths: [/a]}]", (5, 19), "wrong type", "a name or a list of names"),
        ("  files: [{allow: read, paths: [**/.env]}]", (5, 33), "alias", "quote what begins with `*`"),
        ("  network: [{allow: connect, to: [any], ports: [x: 1]}]", (5, 49), "wrong type", "443"),
        ("  ttl: [1h]", (5, 8), "wrong type", "string"),
        ("  ttl: \"1h", (5, 8), "unclosed quote", "indentation"),
    ] {
        refuses(&spec(body), at, message, hint);
    }
}

#[test]
fn mistakes_of_meaning_have_a_place_and_a_hint() {
    for (body, at, message, hint) in [
        ("  files: [{allow: [read, reed], paths: [/a]}]", (5, 26), "mode `reed`", "did you mean `read`?"),
        ("  files: [{allow: fly, paths: [/a]}]", (5, 19), "mode `fly`", "one of read, write"),
        ("  files: [{allow: [], paths: [/a]}]", (5, 19), "about nothing", "at least one access"),
        ("  files: [{allow: read, paths: []}]", (5, 32), "without paths", "at least one path"),
        ("  files: [{paths: [/a]}]", (5, 11), "without an effect", "exactly one"),
        ("  files: [{allow: read, deny: read, paths: [/a]}]", (5, 31), "two effects", "split the rule"),
        (
            "  files: [{allow: read, paths: [/a, b]}]",
            (5, 37),
            "glob `b`: a path must be absolute",
            "${workspace}",
        ),
        ("  files: [{allow: read, paths: [\"/a/**b\"]}]", (5, 33), "whole component", "such as"),
        (
            "  files: [{allow: read, paths: [\"${hom}/x\"]}]",
            (5, 33),
            "variable `hom`",
            "did you mean `home`?",
        ),
        ("  files: [{allow: read, paths: [\"${home/x\"]}]", (5, 33), "without `}`", "${home}"),
        ("  network: [{allow: conect, to: [any]}]", (5, 21), "operation `conect`", "did you mean `connect`?"),
        ("  network: [{allow: bind, to: []}]", (5, 31), "without addresses", "`any`"),
        ("  network: [{allow: bind, to: [10.0.0.300]}]", (5, 32), "no address", "10.0.0.0/8"),
        ("  network: [{allow: bind, to: [10.0.0.0/33]}]", (5, 32), "no address", "10.0.0.0/8"),
        ("  network: [{allow: bind, to: [10.0.0.1/8]}]", (5, 32), "host bits", "write 10.0.0.0/8"),
        ("  network: [{allow: bind, to: [any], ports: [70000]}]", (5, 46), "bad port", "8000-8999"),
        ("  network: [{allow: bind, to: [any], ports: [9-8]}]", (5, 46), "bad port", "8000-8999"),
        (
            "  network: [{allow: bind, to: [any], protocol: tpc}]",
            (5, 48),
            "protocol `tpc`",
            "did you mean `tcp`?",
        ),
        ("  privileges: [mounts]", (5, 16), "privilege `mounts`", "did you mean `mount`?"),
        ("  environment: {set: {\"A=B\": c}}", (5, 30), "bad variable", "without `=`"),
        ("  ttl: 5 parsecs", (5, 8), "bad duration", "15m"),
        ("  include: [bass]", (5, 13), "unknown preset `bass`", "did you mean `base`?"),
        ("  include: [base, base]", (5, 19), "included twice", "remove one"),
    ] {
        refuses(&spec(body), at, message, hint);
    }
}

#[test]
fn mistakes_of_the_head_have_a_place_and_a_hint() {
    let v = "apiVersion: agentguard.dev/v1alpha1\n";
    for (yaml, at, message, hint) in [
        (
            "apiVersion: v1\nkind: AgentPolicy\nmetadata: {name: t}\nspec: {}\n",
            (1, 13),
            "`v1`",
            "agentguard.dev",
        ),
        (&format!("{v}kind: Pod\nmetadata: {{name: t}}\nspec: {{}}\n"), (2, 7), "`Pod`", "write AgentPolicy"),
        (&format!("{v}kind: AgentPolicy\nmetadata: {{name: A B}}\nspec: {{}}\n"), (3, 18), "bad name", "a-z"),
        (
            &format!("{v}kind: AgentPolicy\nmetadata: {{name: t}}\n"),
            (3, 1),
            "missing field `spec`",
            "add `spec:`",
        ),
        (
            &format!("{}---\na: b\n", spec("  mode: audit")),
            (7, 1),
            "more than one YAML",
            "one policy per file",
        ),
    ] {
        refuses(yaml, at, message, hint);
    }
}

#[test]
fn a_cycle_of_presets_is_refused() {
    let preset = |name: &str| match name {
        "a" => Some(
            "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: a}\nspec: {include: [b]}",
        ),
        "b" => Some(
            "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: b}\nspec: {include: [a]}",
        ),
        _ => None,
    };
    let error = load_with("t.yaml", &spec("  include: [a]"), &variables(), &preset).expect_err("a cycle");
    assert_eq!((error.file.as_str(), error.line), ("preset b", 4), "{error}");
    assert!(error.message.contains("a -> b -> a"), "{error}");
}

#[test]
fn a_policy_may_be_called_like_a_preset_it_includes() {
    let yaml = spec("  include: [base]").replace("name: t", "name: base");
    assert!(!load("t.yaml", &yaml, &variables()).expect("loads").files.is_empty());
}

#[test]
fn the_nearest_document_sets_a_variable() {
    let preset = |_: &str| {
        Some(
            "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: p}\nspec: {environment: {set: {A: preset}}}",
        )
    };
    let yaml = spec("  include: [p]\n  environment: {set: {A: own}}");
    let policy = load_with("t.yaml", &yaml, &variables(), &preset).expect("loads");
    assert_eq!(policy.environment.set["A"], "own");
}

const RULES: &str = "  include: [git]
  files:
    - allow: [read]
      paths: [\"${workspace}/**\"]
      reason: work
  network:
    - {allow: connect, to: [loopback], ports: [80], protocol: tcp}";

#[test]
fn the_digest_ignores_how_a_document_is_written() {
    let plain = digest(&spec(RULES));
    assert!(plain.len() == 71 && plain.starts_with("sha256:"));
    for same in [
        RULES.replace("  files:", "  # why\n\n  files: # here"),
        RULES.replace("[read]", "\n        - 'read'"),
        RULES.replace("allow: [read]", "allow: read"),
        RULES.replace(
            "      paths: [\"${workspace}/**\"]\n      reason: work",
            "      reason: work\n      paths: [\"${workspace}/**\"]",
        ),
        format!("  mode: enforce\n  environment: {{}}\n  privileges: []\n{RULES}"),
    ] {
        assert_eq!(digest(&spec(&same)), plain, "{same}");
    }
    let mut others = variables();
    others.workspace = "/elsewhere".into();
    assert_eq!(load("other.yaml", &spec(RULES), &others).expect("loads").digest, plain);
}

#[test]
fn the_digest_covers_every_rule() {
    let plain = digest(&spec(RULES));
    let mut seen = vec![plain];
    for (from, to) in [
        ("git", "node"),
        ("[read]", "[read, write]"),
        ("allow: [read]", "deny: [read]"),
        ("workspace}/**", "workspace}/*"),
        ("reason: work", "reason: play"),
        ("loopback", "127.0.0.1"),
        ("[80]", "[81]"),
        ("tcp", "udp"),
        ("  include", "  mode: audit\n  include"),
        ("  include", "  ttl: 1h\n  include"),
        ("  include", "  logAllowed: true\n  include"),
        ("  include", "  privileges: [bpf]\n  include"),
        ("  include", "  environment: {pass: [A]}\n  include"),
        ("  include", "  environment: {deny: [A]}\n  include"),
        ("  include", "  environment: {set: {A: b}}\n  include"),
    ] {
        let changed = digest(&spec(&RULES.replacen(from, to, 1)));
        assert!(!seen.contains(&changed), "{from} -> {to}");
        seen.push(changed);
    }
}

#[test]
fn the_digest_covers_included_presets() {
    let head = "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: p}\nspec: ";
    let with = |preset: &'static str| {
        load_with("t", &spec("  include: [p]"), &variables(), &|_| Some(preset)).expect("loads").digest
    };
    let leak = |body: &str| -> &'static str { format!("{head}{body}").leak() };
    assert_ne!(with(leak("{ttl: 1h}")), with(leak("{ttl: 2h}")));
    assert_eq!(with(leak("{ttl: 1h}")), with(leak("{ttl: \"1h\"} # same")));
}
