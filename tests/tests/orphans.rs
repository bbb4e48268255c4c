//! `ps --orphaned` finds what nobody answers for any more, says why, and lists nothing else.

use std::process::{Command, Stdio};
use std::time::Instant;

use agentguard_tests::agent::{Agent, Running};
use agentguard_tests::level::deadline;
use agentguard_tests::site::binary;
use agentguard_tests::{Level, Policy, Site};

const FOREVER: [&str; 2] = ["/usr/bin/sleep", "infinity"];

/// A policy under which an agent may start others.
fn policy(site: &Site) -> Policy {
    let files = format!(
        "    - allow: [read, exec]\n      paths: [\"{}\"]\n    - allow: [read]\n      paths: [\"{}/**\"]\n",
        binary().display(),
        site.at("policies")
    );
    site.policy("orphans", &files, "")
}

/// Invocations and reasons that `ps --orphaned` lists.
fn orphans(site: &Site) -> Vec<(String, Vec<String>)> {
    let text = site.call(&["ps", "--orphaned", "--json"]).success().stdout;
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("ps --json is JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let why = |i: &serde_json::Value| i["orphaned"].as_array().expect("reasons").iter().map(text).collect();
    all.iter().map(|i| (text(&i["invocation"]), why(i))).collect()
}

fn orphan(id: &str, why: &[&str]) -> (String, Vec<String>) {
    (id.to_owned(), why.iter().map(|&why| why.to_owned()).collect())
}

/// Starts an agent by a shell that leads a session of its own and lives until its input ends.
fn launched(site: &Site, agent: Agent<'_>) -> Running {
    let run = agent.command(FOREVER);
    let mut launcher = Command::new("/usr/bin/setsid");
    launcher.args(["/usr/bin/bash", "-c", "\"$@\" & read", "launcher"]);
    launcher.arg(run.get_program()).args(run.get_args()).current_dir(site.path("workspace"));
    Running::start(site, launcher, Stdio::piped())
}

/// Lets the launcher end, and waits until it has.
fn leave(mut launcher: Running) {
    drop(launcher.process.child().stdin.take());
    launcher.process.wait();
}

#[test]
fn an_agent_whose_launcher_ended_is_listed_with_why() {
    let site = Site::new();
    let daemon = site.daemon();
    let policy = policy(&site);
    let well = site.agent(&policy).spawn(FOREVER);
    let (left, kept) = (launched(&site, site.agent(&policy)), launched(&site, site.agent(&policy)));
    let (id, _, _) = (left.invocation(), kept.invocation(), well.invocation());
    assert_eq!(orphans(&site), []);
    leave(left);
    let expected = [orphan(&id, &["launcher-gone", "session-gone"])];
    assert_eq!(orphans(&site), expected);
    daemon.kill();
    let next = site.daemon();
    assert_eq!(orphans(&site), expected, "the next daemon knows who it was");
    let table = site.call(&["ps", "--orphaned"]).success().stdout;
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].ends_with("  WHY"), "{table}");
    assert!(lines[1].starts_with(&id) && lines[1].ends_with("  launcher-gone, session-gone"), "{table}");
    let plain = site.call(&["ps", "--json"]).success().stdout;
    assert!(!plain.contains("orphaned"), "said where nobody asked: {plain}");
    let _revoked = site.call(&["revoke", "--all", "--kill"]).success();
    assert_eq!(orphans(&site), []);
    leave(kept);
    next.stop(&site, libc::SIGTERM);
}

#[test]
fn what_outlives_the_run_that_started_it_is_listed_with_why() {
    let site = Site::served();
    let policy = policy(&site);
    let shown = site.file("policies/orphans.yaml", policy.text());
    let inner = format!(
        "{} --socket {} run --policy {shown} --agent inner -- {}",
        binary().display(),
        site.socket().display(),
        FOREVER.join(" ")
    );
    // An agent and its own agent, both still there once what started them is over.
    let left = site.agent(&policy).options(&["--agent", "left"]).spawn([
        "/usr/bin/bash",
        "-c",
        "sleep infinity & exit",
    ]);
    let outer = site.agent(&policy).options(&["--agent", "outer"]);
    let outer = outer.spawn_on(Stdio::piped(), &["/usr/bin/bash", "-c", &format!("{inner} & read")]);
    let (left_id, [_, inner_id]) = (left.invocation(), outer.invocations());
    assert!(left.finish().0.success());
    leave(outer);
    // Not the outer one, which has no processes.
    assert_eq!(
        orphans(&site),
        [orphan(&left_id, &["run-ended"]), orphan(&inner_id, &["launcher-gone", "parent-gone"])]
    );
    let _revoked = site.call(&["revoke", "--policy", "orphans", "--kill"]).success();
}

#[test]
fn an_agent_past_its_time_that_lives_on_is_listed_with_why() {
    let site = Site::served();
    let policy = policy(&site);
    // Time enough to start and be frozen: a guest without hardware virtualisation is slow.
    let ttl = if Level::expected() == Level::Lsm { "20s" } else { "2s" };
    let agent = site.agent(&policy).options(&["--ttl", ttl]).spawn(FOREVER);
    let id = agent.invocation();
    if Level::expected() == Level::Compat {
        // What expires is killed there, unless it is frozen.
        let _frozen = site.call(&["revoke", "--freeze", &id]).success();
    }
    let give_up = Instant::now() + deadline();
    while orphans(&site) != [orphan(&id, &["expired"])] {
        assert!(Instant::now() < give_up, "{:?}", orphans(&site)); // of a frozen one no event tells
    }
    let _killed = site.call(&["revoke", "--kill", &id]).success();
    drop(agent);
}
