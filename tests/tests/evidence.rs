//! The record: complete, in order, readable by people and machines.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use agentguard_tests::loopback::Listener;
use agentguard_tests::process::Capture;
use agentguard_tests::{Level, Site, tail};

#[test]
fn sequence_numbers_have_no_gaps() {
    let site = Site::served();
    let policy = site.policy("plain", "", "");
    let secret = site.file("outside/secret", "x");
    let script = format!("for i in 1 2 3 4 5; do (cat {secret} || /usr/bin/true) 2>/dev/null & done; wait");
    let runs: Vec<_> = (0..3).map(|_| site.agent(&policy).spawn(["/usr/bin/bash", "-c", &script])).collect();
    let mut ids = BTreeSet::new();
    for run in runs {
        let id = run.invocation();
        let (status, output) = run.finish();
        assert!(status.success(), "{output}");
        let events = site.log().until_end(&id);
        let numbers: BTreeSet<_> = events.iter().filter_map(agentguard_tests::events::Event::seq).collect();
        let with_number = events.iter().filter(|e| e.seq().is_some()).count();
        let count = u64::try_from(with_number).expect("few");
        assert_eq!(numbers, (0..count).collect(), "{events:?}");
        let end = events.last().expect("an end");
        assert_eq!((end.text("/action"), end.number("/detail/events")), ("end", Some(count)), "{end}");
        assert_eq!((end.number("/detail/denied"), end.number("/detail/lost")), (Some(5), Some(0)), "{end}");
        assert_eq!(events.iter().filter(|e| e.is_denial()).count(), 5);
        ids.insert(id);
    }
    assert_eq!(ids.len(), 3, "invocation ids are not unique");
}

#[test]
fn the_life_of_processes_is_recorded() {
    let site = Site::served();
    let options = ["--agent", "scribe", "--principal", "user:alice", "--purpose", "a test"];
    let run = site.agent(site.policy("plain", "", "")).options(&options).bash("/usr/bin/true; (exit 3)");
    assert_eq!(run.status.code(), Some(3));
    let events = site.log().until_end(&run.invocation());
    let mut actions = BTreeMap::<_, u32>::new();
    for event in &events {
        *actions.entry(event.text("/action")).or_default() += 1;
        let who = ["/agent", "/principal", "/purpose", "/policy"].map(|field| event.text(field));
        assert_eq!(who, ["scribe", "user:alice", "a test", "plain"], "{event}");
    }
    let want = [("end", 1), ("executed", 2), ("exit", 3), ("fork", 2), ("start", 1)];
    assert_eq!(actions, BTreeMap::from(want), "{events:?}");
    let executed =
        |path: &str| events.iter().any(|e| e.text("/action") == "executed" && e.text("/object") == path);
    assert!(executed("/usr/bin/bash") && executed("/usr/bin/true"));
    let codes: Vec<_> = events.iter().filter_map(|e| e.number("/detail/code")).collect();
    assert_eq!(codes.iter().filter(|c| **c == 3).count(), 2, "the subshell, then the shell: {codes:?}");
}

#[test]
fn events_are_lines_of_json_or_of_prose() {
    let site = Site::served();
    let secret = site.file("outside/secret", "x");
    let run = site.agent(site.policy("plain", "", "")).bash(&format!("cat {secret} || :")).success();
    let id = run.invocation();
    let recorded = site.log().until_end(&id);
    let json = site.call(&["events", "--json"]).success().stdout;
    let all = json.lines().map(|line| serde_json::from_str(line).expect("one object a line"));
    let parsed: Vec<serde_json::Value> = all.filter(|e: &serde_json::Value| e["invocation"] == id).collect();
    assert_eq!(parsed, recorded.into_iter().map(|e| e.0).collect::<Vec<_>>());
    let prose = site.call(&["events"]).success().stdout;
    assert_eq!(prose.lines().filter(|line| line.contains(&id)).count(), parsed.len());
    let denial = prose.lines().find(|l| l.contains(&format!("deny open read {secret}"))).expect("a denial");
    assert!(denial.contains(&id) && denial.contains("default deny"), "{denial}");
}

#[test]
fn followers_see_events_as_they_come_until_the_daemon_ends() {
    let site = Site::new();
    let daemon = site.daemon();
    let policy = site.policy("plain", "", "");
    let mut command = site.agentguard();
    command.args(["events", "--follow", "--json"]);
    let capture = Capture::new(&site.path("output"), &mut command);
    let mut follower = agentguard_tests::process::Owned::spawn(&mut command);
    // The follower is there once it shows an event.
    let shows = |text: &str| text.contains("\"end\"").then_some(());
    let mut runs = 0;
    while runs == 0 || std::fs::read_to_string(&capture.stdout).is_ok_and(|text| shows(&text).is_none()) {
        runs += 1;
        let run = site.agent(&policy).run(["/usr/bin/true"]).success();
        site.log().until_end(&run.invocation());
        assert!(runs < 100, "the follower shows nothing");
    }
    let last = site.agent(&policy).bash("/usr/bin/true; exit 0").success().invocation();
    let seen = tail::until(&capture.stdout, "end of the last run", |text| {
        let mine: Vec<_> = text.lines().filter(|l| l.contains(&last)).map(str::to_owned).collect();
        mine.iter().any(|l| l.contains("\"action\":\"end\"")).then_some(mine)
    });
    let parsed: Vec<serde_json::Value> =
        seen.iter().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    assert_eq!(parsed, site.log().of(&last).into_iter().map(|e| e.0).collect::<Vec<_>>());
    daemon.stop(&site, libc::SIGTERM);
    assert!(follower.wait().success());
}

#[test]
fn ps_lists_what_runs() {
    let site = Site::served();
    let policy = site.policy("plain", "", "");
    let options = ["--agent", "lister", "--principal", "svc:x", "--ttl", "1h"];
    let script = format!("cat {}; echo up; read -r _", site.file("outside/secret", "x"));
    let agent =
        site.agent(&policy).options(&options).spawn_on(Stdio::piped(), &["/usr/bin/bash", "-c", &script]);
    agent.await_line("up");
    let text = site.call(&["ps", "--json"]).success().stdout;
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let id = agent.invocation();
    let one = all.iter().find(|one| one["invocation"] == id).expect("it is listed");
    let named =
        ["agent", "principal", "policy", "state", "level"].map(|k| one[k].as_str().unwrap_or_default());
    assert_eq!(named, ["lister", "svc:x", "plain", "active", Level::expected().name()]);
    assert_eq!((&one["denied"], &one["tasks"]), (&1.into(), &1.into()), "{text}");
    assert_eq!(one["pid"], agent.process.pid());
    let table = site.call(&["ps"]).success().stdout;
    assert!(table.lines().skip(1).any(|l| l.contains(&id) && l.contains("lister")), "{table}");
}

#[test]
fn audit_mode_records_and_denies_nothing() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let secret = site.file("outside/secret", "x");
    let policy = site.policy("audit", "", "  mode: audit");
    let script = format!(
        "import mmap, os, socket\nsocket.create_connection(('127.0.0.1', {}))\nprint(open('{secret}').read())\n\
         mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n\
         os.utime('{secret}')\nos.rename('{secret}', '{secret}-moved')\nsocket.socket(socket.AF_UNIX).bind('\\0audited')",
        listener.port()
    );
    let run = site.agent(&policy).python(&script).success();
    assert_eq!(run.stdout, "x\n");
    let _connection = listener.accept();
    let object = format!("127.0.0.1:{}", listener.port());
    let mut wanted = vec![("connect", object.as_str(), "no-rule")];
    let moved = format!("{secret}-moved");
    if Level::expected() == Level::Lsm {
        // At level compat nobody sees a file that Landlock does not refuse.
        wanted.extend([
            ("open", secret.as_str(), "no-rule"),
            ("path", &secret, "no-rule"),
            ("path", &moved, "no-rule"),
        ]);
        wanted.extend([("map-exec", "executable-memory", "privilege"), ("unix", "@audited", "no-rule")]);
    }
    let events = site.log().until_end(&run.invocation());
    for (action, object, reason) in wanted {
        let event = events.iter().find(|e| e.text("/action") == action && e.text("/object") == object);
        let event = event.unwrap_or_else(|| panic!("no {action} of {object}: {events:?}"));
        assert_eq!((event.text("/decision"), event.text("/reason")), ("deny", reason), "{event}");
        assert!(event.0.get("errno").is_none(), "{event}");
    }
}

#[test]
fn a_relative_path_is_recorded_from_where_it_starts() {
    let site = Site::served();
    let file = site.file("outside/secret", "x");
    let script = format!(
        "import os\ndirectory = os.open('{}', os.O_PATH)\nfor path, fd in (('secret', directory), ('../outside/./secret', None)):\n\
         \x20   try: os.open(path, os.O_RDONLY, dir_fd=fd)\n    except PermissionError: print('denied')\nprint('done', flush=True)\ninput()",
        site.at("outside")
    );
    let agent = site.agent(site.policy("plain", "", ""));
    let agent = agent.spawn_on(Stdio::piped(), &[agentguard_tests::agent::PYTHON, "-c", &script]);
    agent.await_line("done");
    let id = agent.invocation();
    site.log().denial(&id, "open", &file).by_default();
    drop(agent);
    let events = site.log().until_end(&id);
    assert_eq!(events.iter().filter(|e| e.is_denial() && e.text("/object") == file).count(), 2, "{events:?}");
}

/// Processes of several invocations fork and end on the same processors at the same time. Some kernels then skip a
/// tracepoint program, so that not all are counted as they come and go; every invocation must end all the same, and none
/// before its last process.
#[test]
fn every_invocation_ends_however_many_fork_at_once() {
    let site = Site::served();
    let policy = site.policy("crowd", "", "");
    let script = "for i in $(seq 40); do (:) & (:) & (:); wait; done; cat /dev/null && echo alive";
    let agents: Vec<_> = (0..4).map(|_| site.agent(&policy).spawn(["/usr/bin/bash", "-c", script])).collect();
    for agent in agents {
        let id = agent.invocation();
        let (status, output) = agent.finish();
        assert!(status.success() && output.stdout == "alive\n", "{status}\n{output}");
        let events = site.log().until_end(&id);
        let end = events.last().expect("an end");
        println!("{id}: untraced {:?}", end.number("/detail/untraced"));
        assert!(events.iter().filter(|e| e.text("/action") == "end").count() == 1, "{end}");
    }
    println!("{}", site.call(&["doctor"]).success().stdout);
}
