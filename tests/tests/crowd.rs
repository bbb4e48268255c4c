//! Many invocations at once are all listed, enforced, revoked and over. `cargo xtask bench many` does it with 10,000.

use std::path::Path;

use agentguard_tests::herd::{self, Herd};
use agentguard_tests::{Level, Site};

/// Members that try what they may and may not do.
const SAMPLE: usize = 20;

#[test]
fn a_crowd_is_listed_enforced_and_revoked() {
    // A guest without hardware virtualisation is slow.
    let count = if Level::expected() == Level::Lsm { 40 } else { 1000 };
    let site = Site::new();
    let daemon = site.daemon();
    for _ in 0..2 {
        // The second time in slots that were used before, or in others: both are free.
        let mut herd = Herd::start(Path::new(env!("CARGO_BIN_EXE_agentguard-herd")), &site, count);
        let text = site.call(&["ps", "--json"]).success().stdout;
        let listed: Vec<serde_json::Value> = serde_json::from_str(&text).expect("ps --json is JSON");
        assert_eq!(listed.iter().filter(|i| i["state"] == "active").count(), count);
        assert_eq!(herd.enforced(SAMPLE), SAMPLE as u64);
        let run = site.call(&["revoke", "--policy", "herd", "--kill"]).success();
        assert_eq!(run.stdout.lines().filter(|line| line.starts_with("revoked ")).count(), count);
        assert_eq!(herd.await_end(), count as u64);
        herd::await_none(&site);
    }
    daemon.stop(&site, libc::SIGTERM);
}
