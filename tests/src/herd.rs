//! Many invocations at once: the program `agentguard-herd`, from outside.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::Call;
use crate::level::deadline;
use crate::process::Owned;
use crate::site::Site;

/// A port of loopback where its policy lets a member connect.
pub const ALLOWED: u16 = 9;
/// One where it does not.
pub const DENIED: u16 = 10;

/// The policy of all members.
#[must_use]
pub fn policy(site: &Site) -> crate::Policy {
    let rest = format!("  network:\n    - allow: connect\n      to: [loopback]\n      ports: [{ALLOWED}]\n");
    site.policy("herd", "", &rest)
}

/// The value that a share `q` of the sorted `values` does not exceed (nearest rank).
///
/// # Panics
/// If there are none.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let rank = (q * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// Members that live.
#[derive(Debug)]
pub struct Herd {
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    process: Owned,
    /// Microseconds that the calls took which started the members.
    pub times: Value,
}

impl Herd {
    /// Starts `count` members under [`policy`] by `program`, the compiled `agentguard-herd`.
    ///
    /// # Panics
    /// If one does not start.
    #[must_use]
    pub fn start(program: &Path, site: &Site, count: usize) -> Self {
        let mut command = Command::new(program);
        command.arg(site.socket()).arg(policy(site).as_ref()).arg(count.to_string());
        let mut process = Owned::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let child = process.child();
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        let mut herd = Self { input, output: BufReader::new(output), process, times: Value::Null };
        herd.times = herd.answer();
        assert_eq!(herd.times["started"], count, "{}", herd.times);
        herd
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a pipe");
        serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("{e}: {line:?}; hint: the herd's message is above"))
    }

    fn ask(&mut self, command: &str, answer: &str) -> u64 {
        let input = self.input.as_mut().expect("open until it is dropped");
        writeln!(input, "{command}").expect("the herd reads");
        let said = self.answer();
        said[answer].as_u64().unwrap_or_else(|| panic!("{command}: {said}"))
    }

    /// Of `count` members, spread over all, how many may connect where the policy says and nowhere else.
    pub fn enforced(&mut self, count: usize) -> u64 {
        self.ask(&format!("try {count}"), "enforced")
    }

    /// Waits until all members have ended. Returns how many that were.
    pub fn await_end(&mut self) -> u64 {
        self.ask("await", "ended")
    }
}

/// Waits until the daemon of `site` knows of no invocation that is not over.
///
/// # Panics
/// After the deadline.
pub fn await_none(site: &Site) {
    let give_up = Instant::now() + deadline();
    loop {
        let status = Call::connect(&site.socket()).ask("GET", "/v1/status", "");
        let left = status.unwrap_or_else(|answer| panic!("{answer}"))["invocations"].as_u64();
        if left == Some(0) {
            return;
        }
        assert!(Instant::now() < give_up, "{left:?} invocations are not over");
        std::thread::sleep(Duration::from_millis(1)); // the log has their ends, but reading it so often costs more
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        self.input = None; // it kills what is left
        if !std::thread::panicking() {
            self.process.wait();
        }
    }
}
