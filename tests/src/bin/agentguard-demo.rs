//! `cargo xtask demo`: an agent under policy, end to end. Every step is checked, so the demo fails if, say, the denial
//! did not happen. It runs wherever `AGENTGUARD_BIN` runs, also in a virtual machine.
//!
//! The demo itself is a child with a process group of its own; the parent takes everything of it away at the end,
//! also when it is interrupted.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use agentguard_tests::events::Event;
use agentguard_tests::loopback::Listener;
use agentguard_tests::{Level, Policy, Site};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::wait;
use nix::unistd::Pid;

fn main() -> ExitCode {
    if let Some(directory) = std::env::args_os().nth(1) {
        SigSet::all().thread_unblock().expect("unblocking what the parent waits for");
        demonstrate(Path::new(&directory));
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("the demo loads programs into the kernel; hint: run it as root");
        return ExitCode::FAILURE;
    }
    let start = Instant::now();
    if !supervise() {
        return ExitCode::FAILURE;
    }
    println!("\nEvery step was checked. {:.1} s, and nothing is left.", start.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// Runs the demo in a child, and cleans up after it in any case. Says whether it went well.
fn supervise() -> bool {
    let directory = tempfile::Builder::new().prefix("agentguard-demo-").tempdir_in("/var/tmp");
    let directory = directory.expect("a temporary directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), mode).expect("chmod");
    let signals: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block().expect("blocking signals");
    nix::sys::prctl::set_child_subreaper(true).expect("becoming the parent of orphans");
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    let mut child = child.arg(directory.path()).process_group(0).spawn().expect("starting the demo");
    let group = Pid::from_raw(child.id().cast_signed());
    let status = loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(status) = child.try_wait().expect("waiting for the demo") {
                    break Some(status);
                }
            }
            _ => break None,
        }
    };
    let _ = killpg(group, Signal::SIGKILL); // whatever is left
    while wait().is_ok() {}
    Site::unpin_within(directory.path());
    match status {
        Some(status) if status.success() => true,
        Some(status) => {
            eprintln!("the demo failed: {status}");
            false
        }
        None => {
            eprintln!("interrupted");
            false
        }
    }
}

fn title(text: &str) {
    println!("\n== {text}");
}

/// Prints what was said, indented.
fn quote(text: &str) {
    text.lines().for_each(|line| println!("   {line}"));
}

/// Prints an event as `agentguard events` shows it.
fn show(site: &Site, event: &Event) {
    let lines = site.call(&["events"]).success().stdout;
    let position = site.log().events().iter().position(|e| e.0 == event.0).expect("a recorded event");
    quote(lines.lines().nth(position).expect("one line for each event"));
}

fn demonstrate(directory: &Path) {
    let site = Site::within(directory);
    let daemon = site.daemon_at_best();
    title("What this machine enforces");
    let doctor = site.call(&["doctor"]).success().stdout;
    assert!(doctor.contains(&format!("level: {} ", Level::expected().name())), "{doctor}");
    quote(&doctor);

    let service = Listener::on("127.0.0.1");
    let policy = policy(&site, service.port());
    title("The agent's policy");
    quote(policy.text());

    at_work(&site, &policy);
    revoked(&site, &policy, &service);

    title("The evidence");
    quote(&site.call(&["events"]).success().stdout);
    daemon.stop(&site, libc::SIGTERM);
}

fn policy(site: &Site, port: u16) -> Policy {
    let files = format!(
        r#"
    - allow: [read, write, create, delete]
      paths: ["${{workspace}}/**"]
    - deny: all
      paths: ["{}/.ssh/**"] # keys
      reason: keys are not for agents"#,
        site.at("home")
    );
    let rest = format!(
        r"
  ttl: 10m
  network:
    - allow: [connect]
      to: [127.0.0.1]
      ports: [{port}]
      protocol: [tcp]"
    );
    site.policy("demo", &files, &rest)
}

/// Allowed work, a denied open and a denied connect by one invocation.
fn at_work(site: &Site, policy: &Policy) {
    let key = site.file("home/.ssh/id_ed25519", "a private key\n");
    site.file("workspace/notes.txt", "buy milk\n");
    let script = format!(
        "echo \"I am $AGENTGUARD_INVOCATION\"; cat notes.txt; echo done >summary.txt; cat summary.txt\n\
         cat {key}; : </dev/tcp/127.0.0.2/443"
    );
    title("An agent at work: it reads its notes, writes a summary, and tries more");
    let options = ["--agent", "assistant", "--principal", "user:alice", "--purpose", "sort the notes"];
    let run = site.agent(policy).options(&options).run(["/usr/bin/bash", "-c", &script]).failure();
    let id = run.invocation();
    quote(&run.stdout);
    quote(&run.stderr);
    assert_eq!(run.stdout, format!("I am {id}\nbuy milk\ndone\n"));
    assert_eq!(std::fs::read_to_string(site.path("workspace/summary.txt")).expect("written"), "done\n");

    title("The open was denied, and this is the record");
    let event = site.log().denial(&id, "open", &key);
    show(site, event.by_rule(policy, "# keys"));
    title("The connect was denied, and this is the record");
    let event = site.log().denial(&id, "connect", "127.0.0.2:443");
    show(site, event.by_default());
}

/// A revoke of an agent that has a connection open.
fn revoked(site: &Site, policy: &Policy, service: &Listener) {
    title("A second agent, with an open connection, is revoked");
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; echo connected; read -r _ <&3", service.port());
    let agent = site.agent(policy).options(&["--agent", "talker"]).spawn(["/usr/bin/bash", "-c", &script]);
    agent.await_line("connected");
    let _connection = service.accept();
    let id = agent.invocation();
    quote(&site.call(&["ps"]).success().stdout);
    let revoke = site.call(&["revoke", "--kill", &id]).success().stdout;
    assert!(revoke.contains(&format!("revoked {id}")) && revoke.contains(" us after "), "{revoke}");
    quote(&revoke);
    let (status, output) = agent.finish();
    assert!(!status.success(), "the agent ended well\n{output}");
    quote(&format!("the agent ended: {status}"));
    show(site, &site.log().lifecycle(&id, "revoke"));
}
