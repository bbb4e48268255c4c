//! Many invocations at once, each of a process that waits: what `agentguard run` does for a program costs too much memory and
//! time to do it ten thousand times. Arguments: control socket, policy file, how many. Then, line by line:
//!
//! | standard input | answer |
//! |---|---|
//! | | `{"started": N, "median_us": .., "p99_us": .., "max_us": ..}`: time of the calls that started them |
//! | `try K` | `{"enforced": N}`: of K of them, how many may connect where the policy says and nowhere else |
//! | `await` | `{"ended": N}`: all have ended |
//!
//! At the end of its input it kills those that are left.

use std::io::{BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use agentguard_tests::api::Call;
use agentguard_tests::herd::{ALLOWED, DENIED, quantile};
use agentguard_tests::loopback::udp_to;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use serde_json::json;

/// What a member reports through the pipe that all have in common: microseconds of its start, or whether it is enforced.
type Report = [u8; 8];

struct Herd {
    members: Vec<Pid>,
    reports: std::io::PipeReader,
}

/// Whether this process may connect where the policy says, and nowhere else.
fn enforced() -> bool {
    udp_to(ALLOWED).is_ok() && udp_to(DENIED).is_err()
}

/// Becomes an invocation, says how long that took, and waits.
fn live(socket: &Path, request: &str, mut reports: std::io::PipeWriter) -> ! {
    prctl::set_pdeathsig(Signal::SIGKILL).expect("PR_SET_PDEATHSIG");
    let mut asked = SigSet::empty();
    asked.add(Signal::SIGUSR1);
    asked.thread_block().expect("sigprocmask");
    let start = Instant::now();
    let answer = Call::connect(socket).post("/v1/invocations", request);
    let took = u64::try_from(start.elapsed().as_micros()).expect("microseconds");
    answer.unwrap_or_else(|answer| panic!("refused: {answer}"));
    let mut report = |value: u64| reports.write_all(&value.to_ne_bytes()).expect("the pipe of reports");
    report(took);
    loop {
        asked.wait().expect("sigwait");
        report(u64::from(enforced()));
    }
}

impl Herd {
    /// Starts so many, one after the other. Returns their times, too.
    fn start(socket: &Path, request: &str, count: usize) -> (Self, Vec<f64>) {
        let (reports, writer) = std::io::pipe().expect("pipe");
        let mut herd = Self { members: Vec::with_capacity(count), reports };
        let times = (0..count).map(|_| {
            let writer = writer.try_clone().expect("dup");
            // SAFETY: this process has one thread.
            match unsafe { fork() }.expect("fork") {
                ForkResult::Child => live(socket, request, writer),
                ForkResult::Parent { child } => herd.members.push(child),
            }
            drop(writer);
            herd.report() as f64
        });
        let times = times.collect();
        (herd, times)
    }

    /// Waits for one report.
    fn report(&mut self) -> u64 {
        let mut report = Report::default();
        self.reports.read_exact(&mut report).expect("a report of a member; hint: its message is above");
        u64::from_ne_bytes(report)
    }

    /// Lets so many of them, spread over all, try what they may. Returns how many are enforced.
    fn attempt(&mut self, count: usize) -> u64 {
        let step = (self.members.len() / count).max(1);
        let asked: Vec<Pid> = self.members.iter().step_by(step).take(count).copied().collect();
        let mut enforced = 0;
        for member in asked {
            kill(member, Signal::SIGUSR1).expect("kill");
            enforced += self.report();
        }
        enforced
    }

    fn wait(&mut self) -> usize {
        self.members.drain(..).filter(|member| waitpid(*member, None).is_ok()).count()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, policy, count] = &arguments[..] else {
        panic!("usage: agentguard-herd SOCKET POLICY COUNT")
    };
    let document = std::fs::read_to_string(policy).unwrap_or_else(|e| panic!("{policy}: {e}"));
    let variables =
        json!({ "home": "/root", "workspace": "/nowhere", "user": "root", "uid": 0, "tmp": "/tmp" });
    let request =
        json!({ "policy_name": policy, "policy": document, "variables": variables, "agent": "herd" })
            .to_string();
    let (mut herd, mut times) = Herd::start(Path::new(socket), &request, count.parse().expect("a number"));
    times.sort_by(f64::total_cmp);
    let [median, p99, max] = [0.5, 0.99, 1.0].map(|q| quantile(&times, q));
    println!("{}", json!({ "started": times.len(), "median_us": median, "p99_us": p99, "max_us": max }));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input");
        let answer = match line.split_once(' ') {
            Some(("try", count)) => json!({ "enforced": herd.attempt(count.parse().expect("a number")) }),
            None if line == "await" => json!({ "ended": herd.wait() }),
            _ => panic!("{line:?} is no command"),
        };
        println!("{answer}");
    }
    for member in &herd.members {
        let _ = kill(*member, Signal::SIGKILL); // it may have ended
    }
    herd.wait();
}
