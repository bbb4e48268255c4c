//! What no launcher started gets an identity: a running process tree, and whatever lives in a cgroup.

use std::process::Command;
use std::time::Instant;

use agentguard_tests::cgroup::Cgroup;
use agentguard_tests::events::Event;
use agentguard_tests::loopback::Listener;
use agentguard_tests::puppet::Puppet;
use agentguard_tests::{Level, Policy, Site, level};

/// A policy that allows one port of loopback, and no file of the site.
fn policy(site: &Site, port: u16) -> Policy {
    site.policy(
        "late",
        "",
        &format!("  network:\n    - allow: connect\n      to: [loopback]\n      ports: [{port}]\n"),
    )
}

/// Adopts what `target` says. At level compat only network rules can be enforced on what runs already.
fn adopt(site: &Site, policy: &Policy, target: &[&str]) -> serde_json::Value {
    let file = site.file("outside/late.yaml", policy.text());
    let mut arguments = vec!["adopt", "--json", "--policy", &file, "--agent", "late", "--task", "T-9"];
    if Level::expected() == Level::Compat {
        arguments.push("--allow-degraded");
    }
    let out = site.call(&[&arguments, target].concat()).success();
    serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out}"))
}

fn id(adopted: &serde_json::Value) -> String {
    adopted["invocation"].as_str().expect("an id").to_owned()
}

fn listed(site: &Site, id: &str) -> serde_json::Value {
    let text = site.call(&["ps", "--json"]).success().stdout;
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("ps --json is JSON");
    all.into_iter().find(|i| i["invocation"] == id).unwrap_or_else(|| panic!("{id} is not listed: {text}"))
}

/// What `puppet` may do now: read a file, connect to the port that the policy allows, connect to another.
fn rights(puppet: &mut Puppet, file: &str, port: u16) -> [String; 3] {
    let to = format!("127.0.0.1:{port}");
    [("read", file), ("connect", to.as_str()), ("connect", "127.0.0.1:9")]
        .map(|(verb, what)| puppet.attempt(verb, what))
}

/// What the policy leaves: level compat can't take files from what runs already.
fn confined() -> [&'static str; 3] {
    if Level::expected() == Level::Lsm { ["EACCES", "ok", "EPERM"] } else { ["ok", "ok", "EPERM"] }
}

/// What it may that is nobody's agent. Nobody listens at the last port.
const FREE: [&str; 3] = ["ok", "ok", "ECONNREFUSED"];

#[test]
fn a_running_process_is_made_an_agent() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let (file, port) = (site.file("outside/file", "x"), listener.port());
    let mut puppet = site.stray_puppet();
    assert_eq!(rights(&mut puppet, &file, port), FREE);
    let pid = puppet.running.process.pid().to_string();
    let adopted = adopt(&site, &policy(&site, port), &[&pid]);
    let id = id(&adopted);
    assert_eq!(adopted["tasks"], 1, "{adopted}");
    assert_eq!(rights(&mut puppet, &file, port), confined());
    let shown = listed(&site, &id);
    assert_eq!((&shown["state"], &shown["pid"].to_string()), (&"active".into(), &pid), "{shown}");
    let start = site.log().lifecycle(&id, "start");
    assert_eq!((start.text("/agent"), start.text("/task")), ("late", "T-9"), "{start}");
    assert_eq!(start.number("/detail/adopted").map(|n| n.to_string()), Some(pid.clone()), "{start}");
    assert_eq!(start.0["degraded"], Level::expected() == Level::Compat, "{start}");
    let event = site.log().denial(&id, "connect", "127.0.0.1:9");
    event.by_default();
    // What it starts is its own too.
    assert_eq!(puppet.attempt("run", "/usr/bin/true"), "ok");
    puppet.dismiss();
    let events = site.log().until_end(&id);
    let of = |action: &str| events.iter().filter(|e| e.text("/action") == action).count();
    assert_eq!((of("adopt"), of("fork"), of("exit")), (1, 1, 2), "{events:?}");
}

#[test]
fn threads_and_children_come_too_and_go_when_it_is_revoked() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let mut puppet = site.stray_puppet();
    assert_eq!(puppet.attempt("thread", "2"), "ok");
    assert_eq!(puppet.attempt("child", "2"), "ok");
    let pid = puppet.running.process.pid().to_string();
    let adopted = adopt(&site, &policy(&site, listener.port()), &[&pid]);
    let id = id(&adopted);
    assert_eq!(adopted["tasks"], 5, "{adopted}");
    let revoked = site.call(&["revoke", &id, "--kill"]).success();
    assert!(revoked.stdout.contains("3 processes killed"), "{revoked}");
    site.log().until_end(&id);
}

#[test]
fn what_may_not_be_adopted_is_refused() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let policy = policy(&site, listener.port());
    let file = site.file("outside/late.yaml", policy.text());
    let refusal = |target: &[&str], degraded: bool| {
        let mut arguments = vec!["adopt", "--policy", &file, "--workspace", "/"];
        if degraded {
            arguments.push("--allow-degraded");
        }
        site.call(&[&arguments, target].concat()).failure().stderr
    };
    let said = refusal(&["1"], true);
    assert!(said.contains("one of its ancestors"), "{said}");
    let said = refusal(&["--cgroup", "/nowhere"], true);
    assert!(said.contains("/nowhere") && said.contains("hint: systemctl show"), "{said}");
    let said = refusal(&["--cgroup", "/"], true);
    assert!(said.contains("not a directory below"), "{said}");
    let puppet = site.stray_puppet();
    let pid = puppet.running.process.pid().to_string();
    if Level::expected() == Level::Compat {
        let said = refusal(&[&pid], false);
        assert!(said.contains("level compat cannot enforce") && said.contains("--allow-degraded"), "{said}");
    }
    let agent = site.agent(&policy).puppet();
    let said = refusal(&[&agent.running.process.pid().to_string()], true);
    assert!(said.contains("invocation already"), "{said}");
    use std::os::unix::process::CommandExt as _;
    let mut command = site.agentguard();
    command.args([
        "adopt",
        "--policy",
        "observe",
        "--allow-degraded",
        "--user",
        "nobody",
        "--workspace",
        "/",
        &pid,
    ]);
    let refused = site.finish(command.uid(65534).gid(65534)).failure();
    assert!(refused.stderr.contains("only operators may adopt"), "{refused}");
    let own: Vec<_> = site.log().events().into_iter().filter(|e| e.text("/detail/adopted") == pid).collect();
    assert!(own.is_empty(), "{own:?}");
}

#[test]
fn who_is_in_a_cgroup_or_comes_to_it_is_its_invocations() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let (file, port) = (site.file("outside/file", "x"), listener.port());
    let cgroup = Cgroup::new("adopted");
    let (mut early, mut late) = (site.stray_puppet(), site.stray_puppet());
    cgroup.take(early.running.process.pid());
    let policy = policy(&site, port);
    let adopted = adopt(&site, &policy, &["--cgroup", &cgroup.path()]);
    let first = id(&adopted);
    assert_eq!(adopted["tasks"], 1, "{adopted}");
    assert_eq!(rights(&mut early, &file, port), confined());
    assert_eq!(rights(&mut late, &file, port), FREE);
    assert_eq!(late.attempt("thread", "2"), "ok");
    cgroup.take(late.running.process.pid());
    assert_eq!(rights(&mut late, &file, port), confined());
    let pid = u64::from(late.running.process.pid());
    let adopted = |e: &Event| e.invocation() == first && e.text("/action") == "adopt";
    let thread = |e: &Event| {
        adopted(e) && e.number("/detail/pid") == Some(pid) && e.number("/detail/tid") != Some(pid)
    };
    site.log().wait("its other threads", thread);
    assert_eq!(listed(&site, &first)["cgroup"], cgroup.path());
    let document = site.at("outside/late.yaml");
    let again = ["adopt", "--allow-degraded", "--policy", &document, "--cgroup", &cgroup.path()];
    let refused = site.call(&again).failure();
    assert!(refused.stderr.contains(&format!("belongs to invocation {first} already")), "{refused}");
    early.dismiss();
    late.dismiss();
    // Nobody is left, and who comes now is its own all the same.
    let mut next = site.stray_puppet();
    cgroup.take(next.running.process.pid());
    assert_eq!(rights(&mut next, &file, port), confined());
    let _revoked = site.call(&["revoke", &first, "--kill"]).success();
    drop(next);
    // Revoked: who comes has no right at all, until the cgroup has another invocation.
    let mut barred = site.stray_puppet();
    cgroup.take(barred.running.process.pid());
    assert_ne!(barred.attempt_or_end("connect", &format!("127.0.0.1:{port}")), Some("ok".into()));
    drop(barred);
    // A request that is refused changes nothing of that.
    let refused =
        site.call(&["adopt", "--allow-degraded", "--policy", "nobody-pushed-it", "--cgroup", &cgroup.path()]);
    assert!(refused.failure().stderr.contains("no policy is called"));
    let mut barred = site.stray_puppet();
    cgroup.take(barred.running.process.pid());
    assert_ne!(barred.attempt_or_end("connect", &format!("127.0.0.1:{port}")), Some("ok".into()));
    drop(barred);
    site.log().wait("its end", |e| e.invocation() == first && e.text("/action") == "exit");
    let give_up = Instant::now() + level::deadline();
    let second = loop {
        // The exit of the last task is seen a little after its parent has.
        let out = site.call(&[&again[..], &["--json"]].concat());
        if out.status.success() {
            break id(&serde_json::from_str(&out.stdout).expect("JSON"));
        }
        assert!(out.stderr.contains("live in cgroup") && Instant::now() < give_up, "{out}");
    };
    site.log().until_end(&first);
    let mut free = site.stray_puppet();
    cgroup.take(free.running.process.pid());
    assert_eq!(rights(&mut free, &file, port), confined());
    free.dismiss();
    assert_eq!(listed(&site, &second)["state"], "active");
    cgroup.remove();
    site.log().until_end(&second);
}

#[test]
fn a_cgroup_that_is_made_again_at_once_is_its_new_invocations() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let (file, port) = (site.file("outside/file", "x"), listener.port());
    let policy = policy(&site, port);
    let mut before = Vec::new();
    let mut cgroup = Cgroup::new("again");
    for _ in 0..5 {
        before.push(id(&adopt(&site, &policy, &["--cgroup", &cgroup.path()])));
        cgroup.remove();
        cgroup = Cgroup::new("again");
    }
    let last = id(&adopt(&site, &policy, &["--cgroup", &cgroup.path()]));
    for id in &before {
        site.log().until_end(id);
    }
    let mut puppet = site.stray_puppet();
    cgroup.take(puppet.running.process.pid());
    assert_eq!(rights(&mut puppet, &file, port), confined());
    puppet.dismiss();
    cgroup.remove();
    site.log().until_end(&last);
}

#[test]
fn what_comes_to_a_cgroup_without_a_daemon_is_its_invocations() {
    let site = Site::new();
    let (listener, daemon) = (Listener::on("127.0.0.1"), site.daemon());
    let (file, port) = (site.file("outside/file", "x"), listener.port());
    let (kept, gone) = (Cgroup::new("kept"), Cgroup::new("gone"));
    let policy = policy(&site, port);
    let [stays, ends] = [&kept, &gone].map(|c| id(&adopt(&site, &policy, &["--cgroup", &c.path()])));
    daemon.kill();
    let mut puppet = site.stray_puppet();
    kept.take(puppet.running.process.pid());
    assert_eq!(rights(&mut puppet, &file, port), confined());
    gone.remove();
    let next = site.daemon();
    site.log().until_end(&ends);
    assert_eq!(rights(&mut puppet, &file, port), confined());
    let mut other = site.stray_puppet();
    kept.take(other.running.process.pid());
    assert_eq!(rights(&mut other, &file, port), confined());
    assert_eq!(
        (&listed(&site, &stays)["state"], &listed(&site, &stays)["tasks"]),
        (&"active".into(), &2.into())
    );
    puppet.dismiss();
    other.dismiss();
    kept.remove();
    site.log().until_end(&stays);
    next.stop(&site, libc::SIGTERM);
}

#[test]
fn an_unattended_start_is_confined_from_its_first_instruction() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let cgroup = Cgroup::new("unit");
    let id = id(&adopt(&site, &policy(&site, listener.port()), &["--cgroup", &cgroup.path()]));
    // As a service manager does it: the process joins, then becomes the program.
    let script = format!("echo 0 > {}/cgroup.procs && exec /usr/bin/python3 -c \"$1\"", cgroup.path());
    let connect = "import socket,sys\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError as e: print(e.errno)";
    let out = site.finish(Command::new("/usr/bin/bash").args(["-c", &script, "sh", connect])).success();
    assert_eq!(out.stdout.trim(), libc::EPERM.to_string(), "{out}");
    cgroup.remove();
    let events = site.log().until_end(&id);
    assert!(events.iter().any(|e| e.text("/action") == "adopt"), "{events:?}");
}
