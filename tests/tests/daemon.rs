//! The daemon's life: it starts for one run or for many, says what the machine can do, and leaves nothing behind.

use std::process::{Command, Stdio};

use agentguard_tests::daemon::{KernelObjects, assert_nothing_left};
use agentguard_tests::level::{skip, skipped_unless};
use agentguard_tests::site::binary;
use agentguard_tests::{Level, Site};

/// Ends a daemon by `signal` once its last agent has ended.
fn nothing_is_left_after(signal: i32) {
    let site = Site::new();
    let daemon = site.daemon();
    let run = site.agent(site.policy("idle", "", "")).run(["/usr/bin/true"]).success();
    site.log().until_end(&run.invocation());
    daemon.stop(&site, signal);
}

#[test]
fn nothing_is_left_after_sigterm() {
    nothing_is_left_after(libc::SIGTERM);
}

#[test]
fn nothing_is_left_after_sigint() {
    nothing_is_left_after(libc::SIGINT);
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused() {
    let site = Site::served();
    let second = site.call(&["daemon", "--level", Level::expected().name()]).failure();
    assert!(second.stderr.contains("another daemon listens there"), "{second}");
    assert!(site.call(&["ps"]).success().stdout.starts_with("INVOCATION"));
}

#[test]
fn everything_recorded_is_there_when_the_daemon_has_ended() {
    let site = Site::new();
    let daemon = site.daemon();
    let secret = site.file("outside/secret", "x");
    let script = format!("for i in $(seq 50); do cat {secret} 2>/dev/null || :; done");
    let run = site.agent(site.policy("plain", "", "")).bash(&script).success();
    daemon.end(libc::SIGTERM); // at once: nobody waited for the events
    let denied = site.log().of(&run.invocation()).iter().filter(|e| e.is_denial()).count();
    assert_eq!(denied, 50);
}

/// The parent's view of a daemon that `run` started: found by its socket in the command line.
fn daemon_of(site: &Site) -> Option<u32> {
    let socket = site.at("control.sock");
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    pids.filter_map(|e| e.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments: Vec<_> = command.split(|b| *b == 0).collect();
        arguments.contains(&socket.as_bytes()) && arguments.contains(&&b"--ephemeral"[..])
    })
}

#[test]
fn run_starts_a_daemon_for_its_own_lifetime() {
    let site = Site::new();
    let policy = site.policy("plain", "", "");
    let secret = site.file("outside/secret", "x");
    let script = format!("cat {secret}; echo tried; read -r _");
    let level = ["--level", Level::expected().name()];
    let agent = site.agent(&policy).options(&level);
    let agent = agent.spawn_on(Stdio::piped(), &["/usr/bin/bash", "-c", &script]);
    agent.await_line("tried");
    let pid = daemon_of(&site).expect("a daemon runs");
    let held = KernelObjects::of(pid);
    assert!(!held.is_empty());
    let id = agent.invocation();
    site.log().denial(&id, "open", &secret).by_default();
    drop(agent);
    held.await_gone();
    assert_ended(pid);
    site.log().lifecycle(&id, "end");
    assert_nothing_left(&site);
}

/// Waits for the end of a process that is not this one's child.
fn assert_ended(pid: u32) {
    let give_up = std::time::Instant::now() + agentguard_tests::level::deadline();
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        assert!(std::time::Instant::now() < give_up, "the daemon {pid} does not end");
        std::thread::sleep(std::time::Duration::from_millis(1)); // nobody tells of a process that is no child
    }
}

#[test]
fn a_daemon_whose_run_was_refused_ends() {
    let site = Site::new();
    let policy = site.policy("broken", "", "  ttl: soon");
    let run = site.agent(&policy).options(&["--level", Level::expected().name()]).run(["/usr/bin/true"]);
    let run = run.failure();
    assert!(run.stderr.contains("soon"), "{run}");
    if let Some(pid) = daemon_of(&site) {
        assert_ended(pid);
    }
    assert_nothing_left(&site);
}

#[test]
fn doctor_says_the_level_and_why_by_trying() {
    let site = Site::new();
    let alone = site.call(&["doctor"]).success().stdout;
    let level = Level::expected().name();
    assert!(alone.contains(&format!("level: {level} (")) && alone.contains("refused"), "{alone}");
    assert_eq!(alone.contains("not lsm because: "), level == "compat", "{alone}");
    let _daemon = site.daemon_at_best();
    let with_daemon = site.call(&["doctor"]).success().stdout;
    assert!(with_daemon.contains(&format!("level: {level} (in force)")), "{with_daemon}");
    assert_eq!(with_daemon.contains("not lsm because: "), level == "compat", "{with_daemon}");
}

#[test]
fn doctor_names_what_the_kernel_said() {
    let name = "doctor_names_what_the_kernel_said";
    if skipped_unless(Level::Compat, name, "at level lsm there is nothing to explain") {
        return;
    }
    let site = Site::new();
    let text = site.call(&["doctor"]).success().stdout;
    let why = text.lines().find_map(|l| l.strip_prefix("not lsm because: ")).unwrap_or_default();
    assert!(why.contains("Operation not permitted") || why.contains("self test"), "{text}");
}

/// Level compat inherits the identity at a tracepoint: on a kernel that skips tracepoint programs, or lets them see no
/// tags, it must not come into force. Which of our guests do so is not said here; that none slips through is.
#[test]
fn level_compat_is_refused_where_a_fork_could_be_missed() {
    let name = "level_compat_is_refused_where_a_fork_could_be_missed";
    if skipped_unless(Level::Lsm, name, "level compat is in force here") {
        return;
    }
    let site = Site::new();
    let run = site.call(&["daemon", "--level", "compat"]).failure();
    let preempted = run.stderr.contains("lets other tasks run while a tracepoint program does");
    assert!(preempted || run.stderr.contains("loading cgroup_"), "{run}");
    assert!(!preempted || run.stderr.contains("hint: level lsm"), "{run}");
}

/// The preemption model of this kernel, changed until this is dropped.
struct Preemption(String);

impl Preemption {
    const FILE: &str = "/sys/kernel/debug/sched/preempt";

    /// Lets tasks interrupt each other anywhere in the kernel. `None` where that can't be changed while it runs.
    fn full() -> Option<Self> {
        let mounted = std::path::Path::new(Self::FILE).exists()
            || Command::new("mount").args(["-t", "debugfs", "none", "/sys/kernel/debug"]).status().is_ok();
        let models = std::fs::read_to_string(Self::FILE).ok().filter(|_| mounted)?;
        let before = models.split(['(', ')']).nth(1)?.to_owned();
        std::fs::write(Self::FILE, "full").ok()?;
        Some(Self(before))
    }
}

impl Drop for Preemption {
    fn drop(&mut self) {
        std::fs::write(Self::FILE, &self.0).expect("the preemption model it had");
    }
}

#[test]
fn level_lsm_is_refused_where_an_identity_could_be_overlooked() {
    let name = "level_lsm_is_refused_where_an_identity_could_be_overlooked";
    if skipped_unless(Level::Lsm, name, "level lsm is not in force here") {
        return;
    }
    let Some(_full) = Preemption::full() else {
        return skip(name, "this kernel has one model of preemption");
    };
    let site = Site::new();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the release");
    if release.starts_with("6.1.") {
        let refused = site.call(&["daemon", "--level", "lsm"]).failure();
        assert!(refused.stderr.contains("hint: boot with preempt=voluntary"), "{refused}");
    } else {
        site.daemon().stop(&site, libc::SIGTERM);
    }
}

#[test]
fn every_program_loads_by_itself() {
    let site = Site::new();
    let level = Level::expected().name();
    let text = site.call(&["doctor", "--programs", "--json", "--level", level]).success().stdout;
    let reports: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    assert!(reports.len() > 10, "{text}");
    for report in reports.iter().filter(|r| r["error"].is_null()) {
        let checked = report["verified_instructions"].as_u64().expect("a count");
        assert!((1..1_000_000).contains(&checked) && report["jited_bytes"].as_u64() > Some(0), "{report}");
    }
}

#[test]
fn agents_administer_nobody() {
    let site = Site::served();
    let (program, socket) = (binary().display().to_string(), site.socket().display().to_string());
    let files = format!("    - allow: [read, exec]\n      paths: [\"{program}\"]\n");
    let policy = site.policy("curious", &files, "");
    for (command, call) in
        [(["ps", "--json"], "GET /v1/invocations"), (["revoke", "--all"], "POST /v1/revoke")]
    {
        let run = site.agent(&policy).run([program.as_str(), "--socket", &socket].into_iter().chain(command));
        assert!(!run.status.success(), "{run}");
        assert!(run.stderr.contains("the caller runs as an invocation"), "{run}");
        let id = run.invocation();
        let recorded = site.log().wait(call, |e| e.invocation() == id && e.text("/action") == "control");
        assert_eq!((recorded.text("/decision"), recorded.text("/object")), ("deny", call), "{recorded}");
    }
}
