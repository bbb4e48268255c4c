//! What is printed may go where nobody reads it.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use agentguard_tests::Site;

/// The end of a pipe that has lost its reader.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    Stdio::from(OwnedFd::from(writer))
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let site = Site::new();
    let policy = site.policy("unread", "", "");
    let mut check = site.agentguard();
    check.args(["policy", "check"]).arg(policy.as_ref());
    let run = check.stdout(unread()).stderr(Stdio::piped()).output().expect("starts");
    assert!(run.status.success(), "{run:?}");
    assert_eq!(String::from_utf8_lossy(&run.stderr), "");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let site = Site::new();
    let policy = site.policy("full", "", "");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut check = site.agentguard();
    check.args(["policy", "check"]).arg(policy.as_ref());
    let run = check.stdout(full).stderr(Stdio::piped()).output().expect("starts");
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    assert!(String::from_utf8_lossy(&run.stderr).contains("writing the output"), "{run:?}");
}

#[test]
fn a_run_does_not_need_its_messages_read() {
    let site = Site::served();
    let mut command: Command =
        site.agent(site.policy("quiet", "", "")).command(["/usr/bin/cat", "/dev/null"]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(unread()).status();
    assert_eq!(status.expect("starts").code(), Some(0));
}

#[test]
fn a_refusal_that_nobody_reads_keeps_its_status() {
    let site = Site::new();
    let mut check = site.agentguard();
    check.args(["policy", "check", "/nonexistent"]).stdout(Stdio::null());
    assert_eq!(check.stderr(unread()).status().expect("starts").code(), Some(1));
}
