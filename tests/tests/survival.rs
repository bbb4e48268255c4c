//! What the daemon enforces goes on being enforced without it, and the next daemon takes it over.

use std::path::PathBuf;

use agentguard_tests::agent::PYTHON;
use agentguard_tests::loopback::Listener;
use agentguard_tests::process::{Capture, Owned, await_line};
use agentguard_tests::puppet::Puppet;
use agentguard_tests::{Level, Policy, Site, level};

/// A policy that allows one file and one port of loopback.
fn policy(site: &Site, port: u16) -> Policy {
    let files = format!("    - allow: read\n      paths: [\"{}\"]\n", site.file("outside/allowed", "x"));
    let rest = format!("  network:\n    - allow: connect\n      to: [loopback]\n      ports: [{port}]\n");
    site.policy("plain", &files, &rest)
}

/// What a puppet may and may not do under [`policy`].
fn assert_enforced(puppet: &mut Puppet, site: &Site, port: u16) {
    assert_eq!(puppet.attempt("read", &site.at("outside/allowed")), "ok");
    assert_eq!(puppet.attempt("read", &site.file("outside/secret", "x")), "EACCES");
    assert_eq!(puppet.attempt("connect", &format!("127.0.0.1:{port}")), "ok");
    assert_eq!(puppet.attempt("connect", "127.0.0.1:9"), "EPERM");
}

fn listed(site: &Site, id: &str) -> Option<serde_json::Value> {
    let text = site.call(&["ps", "--json"]).success().stdout;
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("ps --json is JSON");
    all.into_iter().find(|i| i["invocation"] == id)
}

/// Checks that the log has every event of an invocation that is over.
fn assert_complete(site: &Site, id: &str) {
    let events = site.log().until_end(id);
    let mut numbers: Vec<_> = events.iter().filter_map(|e| e.seq()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "sequence numbers of {id}");
    let end = events.iter().find(|e| e.text("/action") == "end").expect("an end");
    assert_eq!(end.number("/detail/events"), Some(numbers.len() as u64), "{end}");
}

#[test]
fn a_killed_daemon_goes_on_enforcing_and_is_replaced() {
    let site = Site::new();
    let (listener, daemon) = (Listener::on("127.0.0.1"), site.daemon());
    let port = listener.port();
    let mut puppet = site.agent(policy(&site, port)).options(&["--task", "T-1"]).puppet();
    let id = puppet.invocation();
    assert_enforced(&mut puppet, &site, port);
    daemon.kill();
    assert_enforced(&mut puppet, &site, port); // there is no daemon
    let next = site.daemon();
    assert_enforced(&mut puppet, &site, port);
    let found = listed(&site, &id).expect("it was taken over");
    assert_eq!((found["state"].as_str(), found["task"].as_str()), (Some("active"), Some("T-1")), "{found}");
    site.log().wait("what was taken over", |e| {
        e.text("/action") == "takeover" && e.number("/detail/invocations") == Some(1)
    });
    puppet.dismiss();
    assert_complete(&site, &id);
    let denied = site.log().of(&id).into_iter().filter(|e| e.is_denial() && e.text("/action") == "connect");
    assert_eq!(denied.count(), 3, "one each before, without and after");
    next.stop(&site, libc::SIGTERM);
}

#[test]
fn a_daemon_that_is_told_to_end_leaves_what_it_enforces() {
    let site = Site::new();
    let (listener, daemon) = (Listener::on("127.0.0.1"), site.daemon());
    let port = listener.port();
    let mut puppet = site.agent(policy(&site, port)).puppet();
    let id = puppet.invocation();
    daemon.end(libc::SIGTERM);
    assert!(!site.socket().exists(), "the control socket is left");
    assert_enforced(&mut puppet, &site, port);
    puppet.dismiss(); // it ends while there is no daemon
    let next = site.daemon();
    assert_complete(&site, &id);
    next.stop(&site, libc::SIGTERM);
}

/// An event log on a disk of its own, which can be filled.
struct Disk<'s>(&'s Site);

impl<'s> Disk<'s> {
    fn new(site: &'s Site) -> Self {
        use nix::mount::{MsFlags, mount};
        let disk = Self(site);
        std::fs::create_dir(disk.directory()).expect("mkdir");
        let (none, small) = (MsFlags::empty(), Some("size=64k"));
        mount(Some("log-test"), &disk.directory(), Some("tmpfs"), none, small).expect("mount");
        std::os::unix::fs::symlink(disk.directory().join("log"), site.event_log()).expect("symlink");
        disk
    }

    fn directory(&self) -> PathBuf {
        self.0.path("disk")
    }

    /// Leaves no room but what the last block of the log has.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.directory().join("filler")).expect("a file");
        while std::io::Write::write(&mut filler, &[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.directory().join("filler")).expect("removed");
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.directory(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn what_could_not_be_recorded_before_the_daemon_was_killed_is_recorded_by_the_next() {
    let site = Site::new();
    let disk = Disk::new(&site);
    let daemon = site.daemon();
    let policy = site.policy("plain", "", "");
    let puppet = site.agent(policy.clone()).puppet();
    let id = puppet.invocation();
    let push = |version: u32| {
        let file = site.file("outside/pushed.yaml", &format!("{}# {version}\n", policy.text()));
        let _ = site.call(&["policy", "push", &file]).success();
    };
    let pushes = || site.log().events().iter().filter(|e| e.text("/action") == "push").count() as u32;
    disk.fill();
    let mut pushed = 0;
    while pushes() == pushed {
        pushed += 1;
        push(pushed);
    }
    let _ = site.call(&["revoke", &id]).success();
    let revokes = || site.log().of(&id).iter().filter(|e| e.text("/action") == "revoke").count();
    assert_eq!((revokes(), pushes()), (0, pushed - 1), "there is room for it");
    daemon.kill();
    disk.make_room();
    let next = site.daemon();
    assert_eq!((revokes(), pushes()), (1, pushed));
    next.kill();
    let last = site.daemon(); // it has nothing to add
    assert_eq!((revokes(), pushes()), (1, pushed));
    drop(puppet);
    site.log().until_end(&id);
    drop(disk);
    last.stop(&site, libc::SIGTERM);
}

/// Keeps others from writing to the database that is its argument until its standard input ends.
const LOCKED: &str = r"
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute('BEGIN IMMEDIATE')
print('locked', flush=True)
sys.stdin.read()
";

#[test]
fn what_the_database_refused_is_told_once_and_kept_later() {
    let site = Site::new();
    let daemon = site.daemon();
    let puppet = site.agent(site.policy("plain", "", "")).puppet();
    let id = puppet.invocation();
    let mut lock = std::process::Command::new(PYTHON);
    lock.args(["-c", LOCKED, &site.state().display().to_string()]);
    let capture = Capture::new(&site.path("output"), &mut lock);
    let mut lock = Owned::spawn(lock.stdin(std::process::Stdio::piped()));
    await_line(&capture.stdout, "locked");
    let _ = site.call(&["revoke", &id]).success();
    let times = |action| site.log().of(&id).iter().filter(|e| e.text("/action") == action).count();
    assert_eq!(times("revoke"), 1, "it happened, so it is recorded");
    drop(puppet);
    site.log().until_end(&id);
    drop(lock.child().stdin.take());
    assert!(lock.wait().success());
    daemon.end(libc::SIGTERM);
    let next = site.daemon();
    assert_eq!(["revoke", "end"].map(times), [1, 1]);
    next.stop(&site, libc::SIGTERM);
}

/// The wall clock of a guest, put back by hours until this is dropped. The clock of the machine that builds is let alone.
struct WallClock;

impl WallClock {
    fn put_back() -> Option<Self> {
        (Level::expected() == Level::Lsm).then(|| Self::moved(-7200)).map(|()| Self)
    }

    fn moved(seconds: i64) {
        use nix::sys::time::TimeSpec;
        use nix::time::{ClockId, clock_gettime, clock_settime};
        let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("the time");
        clock_settime(ClockId::CLOCK_REALTIME, now + TimeSpec::new(seconds, 0)).expect("setting the clock");
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        Self::moved(7200);
    }
}

#[test]
fn authority_expires_without_a_daemon_and_by_the_boot_clock() {
    let site = Site::new();
    let (listener, daemon) = (Listener::on("127.0.0.1"), site.daemon());
    let address = format!("127.0.0.1:{}", listener.port());
    let ttl = if Level::expected() == Level::Lsm { "40s" } else { "3s" };
    let mut puppet = site.agent(policy(&site, listener.port())).options(&["--ttl", ttl]).puppet();
    let id = puppet.invocation();
    assert_eq!(puppet.attempt("send", &address), "ok");
    daemon.kill();
    let _put_back = WallClock::put_back();
    let address = address.as_str();
    // At level lsm not even the answer can be written once the time is over.
    let script_ends = std::thread::scope(|scope| {
        let asking = scope.spawn(move || {
            let give_up = std::time::Instant::now() + level::deadline();
            while puppet.attempt_or_end("send", address) == Some("ok".to_owned()) {
                assert!(std::time::Instant::now() < give_up, "it never expires");
            }
            puppet
        });
        asking.join()
    });
    let puppet = script_ends.unwrap_or_else(|e| std::panic::resume_unwind(e));
    let _next = site.daemon();
    let event = site.log().lifecycle(&id, "expire");
    assert_eq!((event.text("/decision"), event.text("/reason")), ("deny", "expired"), "{event}");
    drop(puppet);
}

#[test]
fn an_identity_that_the_database_does_not_know_has_no_authority() {
    let site = Site::new();
    let (listener, daemon) = (Listener::on("127.0.0.1"), site.daemon());
    let address = format!("127.0.0.1:{}", listener.port());
    let mut puppet = site.agent(policy(&site, listener.port())).puppet();
    assert_eq!(puppet.attempt("connect", &address), "ok");
    daemon.kill();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        std::fs::remove_file(site.path(name)).expect("removed");
    }
    let next = site.daemon();
    site.log().wait("an unknown identity", |e| {
        e.text("/action") == "takeover" && e.number("/detail/unknown") == Some(1)
    });
    if Level::expected() == Level::Lsm {
        // No invocation lives, so the daemon would detach what only the tagged need. A task with a tag does.
        next.until_said("the checks stay attached");
        assert!(site.attached("file_open") && site.attached("open_permission"));
    }
    assert_ne!(puppet.attempt_or_end("connect", &address), Some("ok".to_owned()));
}

#[test]
fn uninstalling_spares_what_is_enforced_unless_forced() {
    let site = Site::new();
    let (listener, _daemon) = (Listener::on("127.0.0.1"), site.daemon());
    let mut puppet = site.agent(policy(&site, listener.port())).puppet();
    let refused = site.call(&["uninstall"]).failure();
    assert!(refused.stderr.contains("1 invocations are enforced"), "{refused}");
    assert_eq!(puppet.attempt("connect", "127.0.0.1:9"), "EPERM");
    let done = site.call(&["uninstall", "--force"]).success();
    assert!(done.stdout.contains("detached and removed"), "{done}");
    assert!(!site.pins().exists());
    // The kernel detaches a little after the last pin is gone.
    let give_up = std::time::Instant::now() + level::deadline();
    while puppet.attempt("connect", "127.0.0.1:9") != "ECONNREFUSED" {
        assert!(std::time::Instant::now() < give_up, "it is still enforced");
    }
}

#[test]
fn another_build_takes_over_without_a_gap() {
    let site = Site::new();
    let (listener, daemon) = (Listener::on("127.0.0.1"), site.daemon());
    let port = listener.port();
    let mut puppet = site.agent(policy(&site, port)).puppet();
    let id = puppet.invocation();
    assert_enforced(&mut puppet, &site, port);
    daemon.kill();
    let next = site.daemon_of(&other_build(&site));
    assert_enforced(&mut puppet, &site, port);
    let sets: Vec<_> = std::fs::read_dir(site.pins_at_level())
        .expect("pins")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name.starts_with("links-"))
        .collect();
    assert!(sets.len() == 1 && sets[0].starts_with("links-2-"), "{sets:?}");
    assert_eq!(puppet.attempt("run", "/usr/bin/true"), "ok");
    puppet.dismiss();
    assert_complete(&site, &id);
    next.stop(&site, libc::SIGTERM);
}

/// The same program with other kernel programs in it: a letter of a file name in their debug information is another.
fn other_build(site: &Site) -> std::path::PathBuf {
    let mut bytes = std::fs::read(agentguard_tests::site::binary()).expect("the binary");
    let mark = b"agentguard-ebpf/src/hooks/lifecycle.rs";
    let at = bytes.windows(mark.len()).rposition(|window| window == mark).expect("debug information");
    bytes[at + mark.len() - 4] = b'E';
    let path = site.path("outside/agentguard");
    std::fs::write(&path, bytes).expect("written");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    path
}
