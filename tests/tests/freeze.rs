//! A revoke can stop the processes instead of ending them: they stay there to be looked at, until they are killed.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use agentguard_tests::agent::{PYTHON, Running};
use agentguard_tests::level::skipped_unless;
use agentguard_tests::{Level, Policy, Site};

fn idle(site: &Site) -> Policy {
    let rest = "  environment:\n    pass: [PATH, MARK]\n";
    site.policy("idle", "", rest)
}

/// State letter of every live thread whose process has `mark` in its environment, by thread id.
fn threads(mark: &str) -> BTreeMap<u32, char> {
    let directories = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    let marked = directories("/proc").filter(|process| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|variable| variable == format!("MARK={mark}").as_bytes())
    });
    let tasks = marked.flat_map(|process| directories(process.join("task").to_str().unwrap_or_default()));
    let states = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.join("stat")).ok()?;
        let state = stat.rsplit(')').next()?.trim_start().chars().next()?;
        Some((task.file_name()?.to_str()?.parse().ok()?, state))
    });
    states.filter(|(_, state)| !matches!(state, 'Z' | 'X')).collect()
}

/// An agent whose processes carry `mark` in their environment.
fn marked(site: &Site, mark: &str, argv: &[&str]) -> Running {
    site.agent(idle(site)).env("MARK", mark).spawn_on(Stdio::piped(), argv)
}

fn assert_frozen(mark: &str, at_least: usize) -> BTreeMap<u32, char> {
    let frozen = threads(mark);
    assert!(frozen.len() >= at_least, "{frozen:?}");
    // A thread that started a child in its own memory waits in the kernel until that one goes on (`D`).
    let moving: Vec<_> = frozen.iter().filter(|(_, state)| !matches!(state, 'T' | 't' | 'D')).collect();
    assert!(moving.is_empty(), "{moving:?}");
    frozen
}

#[test]
fn frozen_processes_stay_until_they_are_killed() {
    let site = Site::served();
    let script = r"
import os, signal, threading
for _ in range(3):
    threading.Thread(target=signal.pause, daemon=True).start()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print('ready', flush=True)
while True:
    pass
";
    let agent = marked(&site, "stay", &[PYTHON, "-c", script]);
    agent.await_line("ready");
    let id = agent.invocation();
    let run = site.call(&["revoke", "--freeze", &id]).success();
    assert!(run.stdout.contains("3 processes frozen"), "{run}");
    let frozen = assert_frozen("stay", 6);
    let event = site.log().lifecycle(&id, "freeze");
    assert_eq!((event.text("/decision"), event.text("/reason")), ("deny", "revoked"), "{event}");

    let other = marked(&site, "other", &["/usr/bin/cat"]); // its end does not touch the frozen ones
    let run = site.call(&["revoke", "--kill", &other.invocation()]).success();
    assert!(run.stdout.contains("1 processes killed"), "{run}");
    let again = site.call(&["revoke", &id]).failure(); // nor does a revoke that does not say so
    assert!(again.stderr.contains("no active invocation matches"), "{again}");
    assert_eq!(threads("stay"), frozen);

    let run = site.call(&["revoke", "--kill", &id]).success();
    assert!(run.stdout.contains(&format!("revoked before, and not gone: {id}")), "{run}");
    assert!(run.stdout.contains("3 processes killed, none left"), "{run}");
    assert!(threads("stay").is_empty());
    assert_eq!(agent.finish().0.signal(), Some(libc::SIGKILL));
    site.log().until_end(&id);
    let again = site.call(&["revoke", "--kill", &id]).failure();
    assert!(again.stderr.contains("no active invocation matches"), "{again}");
}

/// Starts processes without end, some of which start others, and each of which ends soon.
const CROWD: &str = r"
import os, subprocess, sys, threading
def work():
    while True:
        if os.fork() == 0:
            subprocess.run(['/usr/bin/true'])
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.wait()
for _ in range(3):
    threading.Thread(target=work).start()
print('ready', flush=True)
";

#[test]
fn processes_that_are_being_forked_are_frozen_and_killed_too() {
    let site = Site::served();
    let agent = marked(&site, "crowd", &[PYTHON, "-c", CROWD]);
    agent.await_line("ready");
    let id = agent.invocation();
    let _frozen = site.call(&["revoke", "--freeze", &id]).success();
    let frozen = assert_frozen("crowd", 4);
    let again = site.call(&["revoke", "--freeze", &id]).success();
    assert!(again.stdout.contains("processes frozen"), "{again}");
    assert_eq!(assert_frozen("crowd", 4).keys().collect::<Vec<_>>(), frozen.keys().collect::<Vec<_>>());
    let _killed = site.call(&["revoke", "--kill", &id]).success();
    assert_eq!(threads("crowd"), BTreeMap::new());
    assert_eq!(agent.finish().0.signal(), Some(libc::SIGKILL));
    site.log().until_end(&id);
}

#[test]
fn what_was_revoked_and_lives_on_can_be_killed() {
    let why = "at level compat a revoked agent is killed or frozen";
    if skipped_unless(Level::Lsm, "what_was_revoked_and_lives_on_can_be_killed", why) {
        return;
    }
    let site = Site::served();
    let agent = marked(&site, "left", &["/usr/bin/sleep", "100000"]);
    let id = agent.invocation();
    let _revoked = site.call(&["revoke", &id]).success();
    let again = site.call(&["revoke", &id]).failure();
    assert!(again.stderr.contains("no active invocation matches"), "{again}");
    let run = site.call(&["revoke", "--kill", &id]).success();
    assert!(run.stdout.contains(&format!("revoked before, and not gone: {id}")), "{run}");
    assert_eq!(agent.finish().0.signal(), Some(libc::SIGKILL));
}

#[test]
fn freezing_and_killing_at_once_is_refused() {
    let site = Site::served();
    let run = site.call(&["revoke", "--freeze", "--kill", "--all"]).failure();
    assert!(run.stderr.contains("--freeze") && run.stderr.contains("--kill"), "{run}");
}
