//! The demo shows what it promises, and takes everything away, also when it is interrupted.

use std::path::PathBuf;
use std::process::Command;

use agentguard_tests::process::{Capture, Finished, Owned};
use agentguard_tests::{Site, site, tail};

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentguard-demo"));
    command.env("AGENTGUARD_BIN", site::binary());
    command
}

/// The demo's own directory, from where it says its daemon listens.
fn directory(stdout: &str) -> Option<PathBuf> {
    let socket = stdout.lines().find_map(|line| line.split_once(" listens at "))?.1;
    Some(PathBuf::from(socket).ancestors().nth(2)?.to_owned())
}

#[test]
fn the_demo_shows_every_step() {
    let site = Site::new();
    let run = site.finish(&mut demo()).success();
    for shown in
        ["level: ", "I am ", "deny open read", "deny connect 127.0.0.2:443", "refused since", "Every step"]
    {
        assert!(run.stdout.contains(shown), "not shown: {shown:?}\n{run}");
    }
    assert!(!directory(&run.stdout).expect("the daemon's socket").exists());
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let site = Site::new();
    let mut command = demo();
    let capture = Capture::new(&site.path("output"), &mut command);
    let mut process = Owned::spawn(&mut command);
    let directory = tail::until(&capture.stdout, "a daemon", directory);
    let pinned = || {
        std::fs::read_dir("/sys/fs/bpf").expect("pins").flatten().map(|e| e.file_name()).collect::<Vec<_>>()
    };
    let site_of_demo =
        std::fs::read_dir(&directory).expect("its site").flatten().map(|e| e.file_name()).collect::<Vec<_>>();
    assert!(pinned().iter().any(|name| site_of_demo.contains(name)), "{site_of_demo:?}: nothing is pinned");
    process.signal(libc::SIGINT);
    let status = process.wait();
    let run = Finished::new(status, &capture).failure();
    assert!(run.stderr.contains("interrupted"), "{run}");
    assert!(!directory.exists());
    assert!(!pinned().iter().any(|name| site_of_demo.contains(name)), "{:?} is attached still", pinned());
    let users = agentguard_tests::daemon::processes_of(&directory.display().to_string());
    assert!(users.is_empty(), "left: {users:?}");
}
