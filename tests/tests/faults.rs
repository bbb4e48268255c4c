//! The daemon is killed again and again, at any moment, while agents work, policies are pushed and authority is taken:
//! nothing forbidden is ever allowed, no identity is lost or revived, and no event is missing without a record of it.
//!
//! `AGENTGUARD_KILLS` says how often (`cargo xtask faults`: 200 times).

use std::collections::BTreeSet;
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agentguard_tests::agent::{PYTHON, Running};
use agentguard_tests::loopback::Listener;
use agentguard_tests::{Level, Site};

/// How often the daemon is killed when nothing else is said.
const KILLS: u64 = 8;
/// The same in a guest, where each takes up to two minutes.
const KILLS_IN_GUEST: u64 = 2;

/// What one agent does until its standard input ends: forks, opens and connects, allowed and forbidden. Says at its end
/// what was allowed that must not be, and how many requests were refused that should not have been.
const WORKER: &str = r"
import os, socket, sys, threading
allowed_file, forbidden_file, allowed_port = sys.argv[1], sys.argv[2], int(sys.argv[3])
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
leaks, refused, rounds = 0, 0, 0
while not over.is_set():
    rounds += 1
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    try:
        open(allowed_file).close()
    except OSError:
        refused += 1
    for attempt in (lambda: open(forbidden_file).close(), lambda: socket.create_connection(('127.0.0.1', 9))):
        try:
            attempt()
            leaks += 1
        except PermissionError:
            pass
        except ConnectionRefusedError:
            leaks += 1
    try:
        socket.create_connection(('127.0.0.1', allowed_port)).close()
    except PermissionError:
        refused += 1
print('leaks', leaks, 'refused', refused, 'rounds', rounds, flush=True)
";

/// Numbers without a pattern, from a seed that is printed: a run can be made again.
struct Random(u64);

impl Random {
    /// A number below `end` (xorshift64).
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Accepts and forgets connections until told to stop.
fn accept_all(listener: &Listener, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        if listener.is_untouched() {
            std::thread::yield_now();
        } else {
            drop(listener.accept());
        }
    }
}

/// Ends the threads beside the test, also when it fails: they would go on for ever.
struct Ends<'f>([&'f AtomicBool; 2]);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|flag| flag.store(true, Ordering::SeqCst));
    }
}

#[test]
fn a_daemon_that_is_killed_at_any_moment_loses_nothing() {
    let kills = match std::env::var("AGENTGUARD_KILLS") {
        Ok(n) => n.parse().expect("AGENTGUARD_KILLS is a number"),
        Err(_) if Level::expected() == Level::Lsm => KILLS_IN_GUEST,
        Err(_) => KILLS,
    };
    let seed = u64::from(std::process::id()) | 1 << 40;
    println!("{kills} kills, seed {seed}");
    let (site, listener) = (Site::new(), Listener::on("127.0.0.1"));
    let (allowed, forbidden) = (site.file("outside/allowed", "x"), site.file("outside/secret", "x"));
    let port = listener.port();
    let policy = |version: u64| {
        let files = format!("    - allow: read\n      paths: [\"{allowed}\"]\n");
        let ports = format!("[{port}, {}]", 20_000 + version);
        let rest = format!("  network:\n    - allow: connect\n      to: [loopback]\n      ports: {ports}\n");
        site.policy(&format!("worker-{version}"), &files, &rest).renamed("worker")
    };
    let first = policy(0);
    let mut daemon = Some(site.daemon());
    let mut agents: Vec<Worker> = Vec::new();
    for n in 0..2 {
        let (name, port) = (format!("worker-{n}"), port.to_string());
        let argv = [PYTHON, "-c", WORKER, &allowed, &forbidden, &port];
        let mut running = site.agent(&first).options(&["--agent", &name]).spawn_on(Stdio::piped(), &argv);
        let input = running.process.child().stdin.take().expect("a pipe");
        agents.push(Worker { id: running.invocation(), running, input });
    }
    let (stop, over, pushed) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let mut ids: Vec<String> = Vec::new();
    let mut revoked: BTreeSet<String> = BTreeSet::new();
    std::thread::scope(|scope| {
        let _ends = Ends([&stop, &over]);
        scope.spawn(|| accept_all(&listener, &over));
        // Pushes meet a daemon that is there, is dying, or is not.
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let version = pushed.load(Ordering::SeqCst) + 1;
                let file = site.file("outside/pushed.yaml", policy(version).text());
                if site.call(&["policy", "push", &file]).status.success() {
                    pushed.store(version, Ordering::SeqCst);
                }
            }
        });
        let mut random = Random(seed);
        for _ in 0..kills {
            let short = site.agent(&first).options(&["--agent", "short"]);
            let short = short.spawn_on(Stdio::piped(), &["/usr/bin/cat"]);
            let id = short.invocation();
            ids.push(id.clone());
            if random.below(2) == 0 && site.call(&["revoke", &id]).status.success() {
                revoked.insert(id);
            }
            std::thread::sleep(Duration::from_micros(random.below(30_000))); // any moment
            daemon.take().expect("a daemon").kill();
            daemon = Some(site.daemon());
            drop(short); // it is killed where the revoke did not
        }
        stop.store(true, Ordering::SeqCst);
        ids.extend(agents.into_iter().map(|agent| agent.finish(&site)));
        over.store(true, Ordering::SeqCst);
    });
    println!("{} policies pushed, {} revoked meanwhile", pushed.load(Ordering::SeqCst), revoked.len());
    for id in &ids {
        let events = site.log().until_end(id);
        let times = |action| events.iter().filter(|e| e.text("/action") == action).count();
        assert_eq!(["start", "end"].map(times), [1, 1], "{id}: how often they are recorded");
        // One whose answer was lost may have been carried out.
        assert!(times("revoke") <= 1 && (times("revoke") == 1 || !revoked.contains(id)), "{id}: revokes");
        assert_nothing_missing(&site, id);
    }
    daemon.expect("a daemon").stop(&site, libc::SIGTERM);
}

/// An agent at work.
struct Worker {
    id: String,
    running: Running,
    input: ChildStdin,
}

impl Worker {
    /// Lets it end, and checks what it met. Returns its id.
    fn finish(self, site: &Site) -> String {
        drop(self.input);
        let (status, output) = self.running.finish();
        assert!(status.success(), "{}: {output}", self.id);
        assert!(output.stdout.starts_with("leaks 0 refused 0 rounds "), "{}: {output}", self.id);
        println!("{}: {}", self.id, output.stdout.trim());
        site.log().until_end(&self.id);
        self.id
    }
}

/// Checks that each sequence number of an invocation that is over is in the log once, or in the record of a gap.
fn assert_nothing_missing(site: &Site, id: &str) {
    let events = site.log().of(id);
    let mut numbers: Vec<u64> = events.iter().filter_map(|e| e.seq()).collect();
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all, "{id}: events that are in the log twice");
    let gaps = events.iter().filter(|e| e.text("/action") == "gap");
    let missing: u64 = gaps.filter_map(|e| e.number("/detail/missing")).sum();
    let end = events.iter().find(|e| e.text("/action") == "end").expect("an end");
    let taken = end.number("/detail/events").expect("a count");
    assert_eq!(all as u64 + missing, taken, "{id}: events are missing without a record: {end}");
}
