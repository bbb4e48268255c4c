//! Tools: programs that run in a narrower identity of their own, from their first instruction on and for good.

use agentguard_tests::level::skipped_unless;
use agentguard_tests::{Level, Policy, Site};

/// A copy of a program that the policy can name.
fn program(site: &Site, name: &str, of: &str) -> String {
    let path = site.at(&format!("outside/{name}"));
    std::fs::copy(of, &path).expect("copied");
    path
}

/// The run may read `own` and `both`; the tool at `tool` only `both`, and `none`, which the run may not.
fn policy(site: &Site, tool: &str) -> Policy {
    let [own, both] = ["own", "both"].map(|name| site.file(&format!("outside/{name}"), name));
    let none = site.file("outside/none", "none");
    let files = format!(
        "    - allow: [read]\n      paths: [\"{own}\", \"{both}\"]\n    - allow: [read, exec]\n      paths: [\"{tool}\"]\n"
    );
    let rest = format!(
        r#"  tools:
    - name: reader
      paths: ["{tool}"]
      files:
        - allow: [read, exec]
          paths: ["/usr/**", "{tool}"]
        - allow: [read]
          paths: ["/etc/**", "/proc/**", "/sys/**", "/dev/**"]
        - allow: [read, write]
          paths: ["/dev/null", "/dev/tty", "/dev/pts/**"]
        - allow: [read]
          paths: ["{both}", "{none}"]
"#
    );
    site.policy("with-tool", &files, &rest)
}

#[test]
fn a_tool_runs_in_a_narrower_identity_of_its_own() {
    let name = "a_tool_runs_in_a_narrower_identity_of_its_own";
    if skipped_unless(Level::Lsm, name, "level compat refuses policies with tools") {
        return;
    }
    let site = Site::served();
    let tool = program(&site, "reader", "/usr/bin/bash");
    let policy = policy(&site, &tool);
    let [own, both, none] = ["own", "both", "none"].map(|name| site.at(&format!("outside/{name}")));
    // The tool starts another program, which is no tool: it stays in the tool's identity.
    let script = format!(
        "cat {own}; {tool} -c 'for f in {own} {both} {none}; do /usr/bin/cat $f; done; true'; cat {own}; cat {none} || true"
    );
    let run = site.agent(&policy).options(&["--agent", "runner"]).bash(&script).success();
    assert_eq!(run.stdout, "ownbothown", "{run}");
    let id = run.invocation();
    let events = site.log().until_end(&id);
    let became = events.iter().find(|e| e.text("/action") == "tool").expect("the switch is recorded");
    assert_eq!(became.text("/object"), "reader", "{became}");
    let of_tool = became.text("/detail/invocation").to_owned();
    assert_ne!(of_tool, id);
    for path in [&own, &none] {
        let denied = site.log().denial(&of_tool, "open", path);
        assert_eq!(denied.text("/delegation/0/invocation"), id, "{denied}");
        assert_eq!(
            (denied.text("/agent"), denied.text("/policy")),
            ("reader", "with-tool/reader"),
            "{denied}"
        );
    }
    let denied: Vec<_> =
        events.iter().filter(|e| e.is_denial()).map(|e| e.text("/object").to_owned()).collect();
    assert_eq!(denied, [none], "what the run itself was denied");
    site.log().until_end(&of_tool);
}

#[test]
fn a_script_that_is_a_tool_switches_and_its_interpreter_does_not() {
    let name = "a_script_that_is_a_tool_switches_and_its_interpreter_does_not";
    if skipped_unless(Level::Lsm, name, "level compat refuses policies with tools") {
        return;
    }
    let site = Site::served();
    let own = site.at("outside/own");
    let tool = site.file("outside/script", &format!("#!/usr/bin/bash\n/usr/bin/cat {own}\n"));
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let policy = policy(&site, &tool);
    let run =
        site.agent(&policy).bash(&format!("/usr/bin/bash -c 'cat {own}'; {tool} || echo refused")).success();
    assert_eq!(run.stdout, "ownrefused\n", "{run}");
}

#[test]
fn revoking_a_run_revokes_its_tools() {
    let name = "revoking_a_run_revokes_its_tools";
    if skipped_unless(Level::Lsm, name, "level compat refuses policies with tools") {
        return;
    }
    let site = Site::served();
    let tool = program(&site, "reader", "/usr/bin/bash");
    let agent = site.agent(policy(&site, &tool)).spawn([
        "/usr/bin/bash",
        "-c",
        &format!("{tool} -c 'echo here; sleep 100000'"),
    ]);
    agent.await_line("here");
    let id = agent.invocation();
    let done = site.call(&["revoke", "--kill", &id]).success();
    assert_eq!(done.stdout.lines().filter(|l| l.starts_with("revoked ")).count(), 2, "{done}");
    assert!(done.stdout.contains("processes killed"), "{done}");
    let _ = agent.finish();
    site.log().until_end(&id);
}

#[test]
fn level_compat_refuses_tools() {
    if skipped_unless(Level::Compat, "level_compat_refuses_tools", "level lsm has them") {
        return;
    }
    let site = Site::served();
    let tool = program(&site, "reader", "/usr/bin/bash");
    let run = site.agent(policy(&site, &tool)).run(["/usr/bin/true"]);
    assert_eq!(run.status.code(), Some(125), "{run}");
    assert!(run.stderr.contains("reader"), "the tool is listed: {run}");
}
