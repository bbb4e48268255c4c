use agentguard_common::policy::MAX_TOOLS;

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
        ("  ttl: 0h", (5, 8), "bad duration", "15m"),
        ("  ttl: +1h", (5, 8), "bad duration", "15m"),
        ("  ttl: 213504d", (5, 8), "longer than the kernel's clock", "213503d"),
        ("  ttl: 99999999999999999999s", (5, 8), "longer than the kernel's clock", "without `ttl`"),
        ("  maxTtl: 2h", (5, 11), "`maxTtl` without `ttl`", "write `ttl` too"),
        ("  ttl: 2h\n  maxTtl: 1h", (6, 11), "`maxTtl` 1h is shorter", "`extend`"),
        ("  tools: [{name: A, paths: [/a]}]", (5, 18), "bad name \"A\"", "a-z"),
        ("  tools: [{name: a, paths: []}]", (5, 28), "without paths", "at least one program"),
        ("  tools: [{name: a, paths: [a]}]", (5, 29), "must be absolute", "such as"),
        ("  tools: [{name: a, paths: [\"@a\"]}]", (5, 29), "not a program", "/usr/bin/git"),
        (
            "  tools:\n    - {name: a, paths: [/a]}\n    - {name: a, paths: [/b]}",
            (7, 14),
            "two tools are called `a`",
            "another name",
        ),
        (
            "  tools: [{name: a, paths: [/a], tools: [{name: b}]}]",
            (5, 41),
            "a tool has no tools",
            "keeps its identity",
        ),
        (
            "  tools: [{name: a, paths: [/a], files: [{allow: reed, paths: [/a]}]}]",
            (5, 50),
            "mode `reed`",
            "did you mean `read`?",
        ),
        ("  tools: [{name: a, paths: [/a], include: [bass]}]", (5, 44), "preset `bass`", "`base`?"),
        ("  subjects: {}", (5, 13), "nobody", "without `subjects` anybody"),
        ("  subjects: {users: []}", (5, 13), "nobody", "without `subjects` anybody"),
        ("  subjects: {users: [alice, 4294967295]}", (5, 29), "no user or group", "a number below"),
        ("  subjects: {groups: [\"\"]}", (5, 23), "bad name", "a name"),
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

#[test]
fn lifetimes_default_to_each_other_and_the_shortest_counts() {
    let preset = |_: &str| {
        Some(
            "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: p}\nspec: {ttl: 2h, maxTtl: 3h}",
        )
    };
    let hours = |body: &str| {
        let policy = load_with("t.yaml", &spec(body), &variables(), &preset).expect(body);
        [policy.ttl, policy.max_ttl].map(|t| t.map(|t| t.as_secs() / 3600))
    };
    assert_eq!(hours("  mode: enforce"), [None, None]);
    assert_eq!(hours("  ttl: 1h"), [Some(1), Some(1)]);
    assert_eq!(hours("  ttl: 1h\n  maxTtl: 5h"), [Some(1), Some(5)]);
    assert_eq!(hours("  ttl: 4h\n  maxTtl: 5h\n  include: [p]"), [Some(2), Some(3)]);
    assert_eq!(hours("  include: [p]"), [Some(2), Some(3)]);
    assert_eq!(hours("  ttl: 213503d")[0], Some(213_503 * 24));
}

#[test]
fn subjects_are_read_with_their_places() {
    let yaml = spec("  subjects:\n    users: [alice, 1000]\n    groups:\n      - \"1000\"");
    let subjects = load("t.yaml", &yaml, &variables()).expect("loads").subjects.expect("some");
    let shown = |s: &crate::policy::subjects::Subject| format!("{:?} {}:{}", s.who, s.line, s.column);
    let all: Vec<_> = subjects.users.iter().chain(&subjects.groups).map(shown).collect();
    assert_eq!(all, ["Name(\"alice\") 6:13", "Id(1000) 6:20", "Name(\"1000\") 8:9"]);
    assert_eq!(load("t.yaml", &spec("  ttl: 1h"), &variables()).expect("loads").subjects, None);
}

#[test]
fn tools_have_rules_of_their_own_and_inherit_none() {
    let tools = "  privileges: [bpf]
  files: [{allow: all, paths: [/x]}]
  tools:
    - name: git
      paths: [\"/usr/bin/git*\", \"${workspace}/git\"]
      include: [git]
      files:
        - {allow: read, paths: [\"${workspace}/**\"]}
    - {name: watched, paths: [/w], mode: audit, privileges: [perf]}";
    let policy = load("t.yaml", &spec(tools), &variables()).expect("loads");
    let [git, watched] = policy.tools.as_slice() else { panic!("{:?}", policy.tools) };
    assert_eq!((git.name.as_str(), git.policy.name.as_str(), git.source.line), ("git", "t/git", 8));
    assert_eq!(git.globs, ["/usr/bin/git*", "/w/git"]);
    let own = git.policy.files.iter().filter(|rule| rule.source.document == "t");
    let own: Vec<_> = own.map(|rule| (rule.glob.as_str(), rule.source.line)).collect();
    assert_eq!(own, [("/w/**", 12)]);
    assert!(git.policy.files.iter().any(|rule| rule.source.document == "git"));
    assert_eq!((git.policy.privileges, git.policy.mode, &git.policy.ttl), (0, Mode::Enforce, &None));
    assert_eq!(watched.policy.mode, Mode::Audit);
    assert!(watched.policy.files.is_empty() && watched.policy.privileges != 0);
    let digests = [&policy.digest, &git.policy.digest, &watched.policy.digest];
    assert!(digests.iter().all(|d| d.len() == 71) && digests[0] != digests[1] && digests[1] != digests[2]);
}

#[test]
fn a_policy_has_so_many_tools_and_no_more() {
    let with = |n: u32| (0..n).map(|i| format!("    - {{name: t{i}, paths: [/t{i}]}}\n")).collect::<String>();
    let yaml = |n| spec(&format!("  tools:\n{}", with(n)));
    assert!(load("t.yaml", &yaml(MAX_TOOLS), &variables()).is_ok());
    refuses(&yaml(MAX_TOOLS + 1), (u64::from(6 + MAX_TOOLS), 7), "more than 32 tools", "several paths");
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
        ("  include", "  ttl: 1h\n  maxTtl: 2h\n  include"),
        ("  include", "  tools: [{name: a, paths: [/a]}]\n  include"),
        ("  include", "  tools: [{name: a, paths: [/b]}]\n  include"),
        ("  include", "  tools: [{name: a, paths: [/b], include: [base]}]\n  include"),
        ("  include", "  tools: [{name: a, paths: [/b], privileges: [bpf]}]\n  include"),
        ("  include", "  subjects: {users: [u]}\n  include"),
        ("  include", "  subjects: {groups: [u]}\n  include"),
        ("  include", "  subjects: {groups: [7]}\n  include"),
        ("  include", "  subjects: {groups: ['7']}\n  include"),
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
