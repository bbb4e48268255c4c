//! What cannot be enforced or understood is refused, and then the command does not run.

use std::os::unix::process::CommandExt as _;

use agentguard_tests::agent::PYTHON;
use agentguard_tests::level::skipped_unless;
use agentguard_tests::process::Finished;
use agentguard_tests::{Level, Site};

/// What the refused command would leave behind.
const TRACE: &str = "workspace/ran";
const COMMAND: [&str; 3] = [PYTHON, "-c", "open('ran', 'w')"];

/// A workspace with a rule inside it that Landlock cannot say.
fn hole_in_the_workspace(site: &Site) -> agentguard_tests::Policy {
    let files = r#"
    - allow: [read, write, create, delete]
      paths: ["${workspace}/**"]
    - deny: [read, write]
      paths: ["**/secret"] # hole
"#;
    site.policy("hole", files, "")
}

/// Checks that `run` refused with all of `said`, and did not run the command.
#[track_caller]
fn refused(site: &Site, run: Finished, said: &[&str]) {
    assert_eq!(run.status.code(), Some(125), "{run}");
    for part in said {
        assert!(run.stderr.contains(part), "not said: {part:?}\n{run}");
    }
    assert!(!site.path(TRACE).exists(), "the command ran\n{run}");
}

#[test]
fn what_landlock_cannot_enforce_is_refused_and_listed() {
    let name = "what_landlock_cannot_enforce_is_refused_and_listed";
    if skipped_unless(Level::Compat, name, "level lsm enforces the whole language") {
        return;
    }
    let site = Site::served();
    let policy = hole_in_the_workspace(&site);
    let rule = format!("hole:{}: deny read,write \"**/secret\"", policy.line("# hole"));
    refused(&site, site.agent(&policy).run(COMMAND), &[&rule, "hint: --allow-degraded"]);
}

#[test]
fn a_degraded_run_says_so_in_every_event() {
    let site = Site::served();
    let secret = site.file("workspace/secret", "x");
    let agent = site.agent(hole_in_the_workspace(&site)).options(&["--allow-degraded"]);
    let script = "open('ran', 'w')\ntry: open('secret')\nexcept PermissionError: print('denied')";
    let run = agent.python(script).success();
    assert_eq!(run.stdout, "denied\n", "{run}");
    assert!(site.path(TRACE).exists());
    let degraded = Level::expected() == Level::Compat;
    assert_eq!(run.stderr.contains("DEGRADED"), degraded, "{run}");
    site.log().denial(&run.invocation(), "open", &secret);
    for event in site.log().until_end(&run.invocation()) {
        assert_eq!(event.0["degraded"], degraded, "{event}");
    }
}

#[test]
fn mistakes_in_a_policy_are_pointed_at() {
    let site = Site::served();
    let network = |rule: &str| format!("  network:\n    - {rule}");
    let mistakes = [
        (
            "    - allow: [reed]\n      paths: [\"/x\"]",
            String::new(),
            "- allow: [reed]",
            "did you mean `read`?",
        ),
        ("    - allow: [read]\n      paths: [\"relative\"]", String::new(), "relative", "absolute"),
        ("    - allow: [read]\n      paths: [\"${hme}/x\"]", String::new(), "${hme}", "did you mean `home`?"),
        ("", "  ttl: soon".into(), "ttl: soon", "90s"),
        ("", "  include: [bsae]".into(), "include:", "did you mean `base`?"),
        ("", "  netwrok: []".into(), "netwrok", "network"),
        ("", network("{ allow: [connect], to: [\"10.0.0.1/8\"] }"), "10.0.0.1/8", "write 10.0.0.0/8"),
        ("", network("{ allow: [connect], to: [example] }"), "to: [example]", "an address"),
        ("", network("{ allow: [connect], to: [any], ports: [99999] }"), "ports:", "8000-8999"),
    ];
    for (files, rest, mark, hint) in &mistakes {
        let policy = site.policy("broken", files, rest);
        let place = format!("broken.yaml:{}:", policy.line(mark));
        refused(&site, site.agent(&policy).run(COMMAND), &[&place, hint]);
        let path = site.at("broken.yaml");
        let checked = site.call(&["policy", "check", &path]).failure();
        assert!(checked.stderr.contains(&place) && checked.stderr.contains(hint), "{checked}");
    }
}

#[test]
fn a_policy_that_is_not_there_is_refused() {
    let site = Site::served();
    refused(&site, site.agent("codng-agent").run(COMMAND), &["codng-agent", "hint:", "coding-agent"]);
    refused(
        &site,
        site.agent("/nowhere/policy.yaml").run(COMMAND),
        &["/nowhere/policy.yaml", "No such file"],
    );
    refused(&site, site.agent(site.path("workspace")).run(COMMAND), &["workspace", "directory"]);
    let hidden = site.file("outside/hidden.yaml", "");
    std::fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("chmod");
    let run = site.finish(site.agent(&hidden).command(COMMAND).uid(65534).gid(65534));
    refused(&site, run, &["hidden.yaml", "Permission denied"]);
}

#[test]
fn bad_options_are_refused() {
    let site = Site::served();
    let policy = site.policy("plain", "", "");
    let run = |options: &[&str]| site.agent(&policy).options(options).run(COMMAND);
    refused(&site, run(&["--ttl", "soon"]), &["soon", "hint: 90s"]);
    refused(&site, run(&["--user", "no-such-user"]), &["no-such-user"]);
    refused(&site, run(&["--workspace", "/nowhere"]), &["/nowhere"]);
    let started: Vec<_> = site.log().events().into_iter().filter(|e| e.text("/action") == "start").collect();
    assert!(started.is_empty(), "invocations were started: {started:?}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let site = Site::served();
    let run = site.agent(site.policy("plain", "", "")).run(["no-such-program"]);
    assert_eq!(run.status.code(), Some(127), "{run}");
    assert!(run.stderr.contains("no-such-program: not found in PATH"), "{run}");
}

#[test]
fn a_level_that_is_not_in_force_is_refused() {
    let site = Site::served();
    let other = if Level::expected() == Level::Compat { "lsm" } else { "compat" };
    let run = site.agent(site.policy("plain", "", "")).options(&["--level", other]).run(COMMAND);
    refused(&site, run, &[&format!("level {other} is not in force")]);
}

#[test]
fn without_a_daemon_nothing_runs_for_an_ordinary_user() {
    let site = Site::new();
    let policy = site.policy("plain", "", "");
    let run = site.finish(site.agent(&policy).command(COMMAND).uid(65534).gid(65534));
    refused(&site, run, &["no daemon listens", "hint:"]);
}

#[test]
fn a_daemon_that_cannot_start_means_that_nothing_runs() {
    let site = Site::new();
    let policy = site.policy("plain", "", "");
    // Later options win: a socket in a place where none can be.
    let agent = site.agent(&policy).options(&["--socket", "/proc/nowhere/control.sock"]);
    refused(&site, agent.run(COMMAND), &["/proc/nowhere"]);
}

#[test]
fn a_daemon_that_hangs_up_means_that_nothing_runs() {
    let site = Site::new();
    let policy = site.policy("plain", "", "");
    let listener = std::os::unix::net::UnixListener::bind(site.socket()).expect("bind");
    let rude = std::thread::spawn(move || (0..2).for_each(|_| drop(listener.accept())));
    refused(&site, site.agent(&policy).run(COMMAND), &["error"]);
    rude.join().expect("no panic");
}
