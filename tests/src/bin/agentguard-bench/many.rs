//! What many invocations at once cost: each a process that waits.

use std::time::Instant;

use agentguard_tests::api::Call;
use agentguard_tests::herd::{self, Herd};
use agentguard_tests::{Level, Site};
use serde_json::{Value, json};

use super::ms;

/// Members that try what they may and may not do.
const SAMPLE: usize = 100;
/// Runs of a program by `agentguard run`, and of the same program without it.
const RUNS: usize = 20;

/// Resident memory of a process, in MiB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

/// The median of what `RUNS` runs of something take, in milliseconds.
fn median(mut run: impl FnMut()) -> f64 {
    super::median(RUNS, || {
        let start = Instant::now();
        run();
        ms(start)
    })
}

/// Starts so many, checks that all are there and enforced, and takes all their authority.
fn measure(site: &Site, daemon: u32, count: usize) -> Value {
    let program = std::env::current_exe().expect("this program").with_file_name("agentguard-herd");
    let before = resident(daemon);
    let start = Instant::now();
    let mut herd = Herd::start(&program, site, count);
    let all_started = ms(start);
    let memory = resident(daemon);
    let start = Instant::now();
    let listed = Call::connect(&site.socket()).ask("GET", "/v1/invocations", "").expect("the list");
    let list = ms(start);
    let listed = listed.as_array().expect("a list").iter();
    assert_eq!(listed.filter(|i| i["state"] == "active" && i["agent"] == "herd").count(), count);
    let sample = count.min(SAMPLE);
    assert_eq!(herd.enforced(sample), sample as u64, "not all are enforced");
    let options = ["--level", Level::expected().name()];
    let policy = herd::policy(site);
    let run = median(|| drop(site.agent(&policy).options(&options).run(["/usr/bin/true"]).success()));
    let plain = median(|| drop(site.finish(&mut std::process::Command::new("/usr/bin/true")).success()));
    let start = Instant::now();
    let request = json!({ "policy": policy.name, "kill": true }).to_string();
    let revoked = Call::connect(&site.socket()).post("/v1/revoke", &request).expect("revoked");
    assert_eq!(revoked["invocations"].as_array().expect("a list").len(), count);
    assert_eq!(herd.await_end(), count as u64);
    herd::await_none(site);
    let over = ms(start);
    let milliseconds = |us: &Value| us.as_f64().expect("a time") / 1e3;
    json!({ "figures": [
        ("invocations", count as f64),
        ("start, median, ms", milliseconds(&herd.times["median_us"])),
        ("start, p99, ms", milliseconds(&herd.times["p99_us"])),
        ("all started, ms", all_started),
        ("memory of the daemon before, MiB", before),
        ("memory of the daemon, MiB", memory),
        ("list all, ms", list),
        ("run a program, ms", run),
        ("the same without AgentGuard, ms", plain),
        ("call to all barred, ms", milliseconds(&revoked["store_us"])),
        ("call to all killed, ms", milliseconds(&revoked["killed_us"])),
        ("call to all over, ms", over),
    ] })
}

/// Measures for each number of invocations, with a new daemon for each: twice, since the second time all is used again.
pub(super) fn run(counts: &[u32]) {
    for count in counts {
        let site = Site::default();
        let daemon = site.daemon();
        for _ in 0..2 {
            println!("{}", measure(&site, daemon.pid(), *count as usize));
        }
        daemon.stop(&site, libc::SIGTERM);
    }
}
