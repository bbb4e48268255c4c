//! Runs of agents.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitStatus, Stdio};

use crate::process::{self, Capture, Finished, Owned};
use crate::site::Site;
use crate::tail;

/// The distribution's Python, which the policies of the tests allow.
pub const PYTHON: &str = "/usr/bin/python3";

/// An agent to run.
#[derive(Debug)]
pub struct Agent<'s> {
    site: &'s Site,
    command: Command,
}

impl<'s> Agent<'s> {
    pub(crate) fn new(site: &'s Site, policy: &OsStr) -> Self {
        let mut command = site.agentguard();
        command.arg("run").arg("--policy").arg(policy);
        Self { site, command }
    }

    /// Adds options of `run`.
    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.command.args(options);
        self
    }

    /// Adds a variable to the environment that `run` is started with.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The command line that runs `program` with `arguments`, for callers that start it themselves.
    #[must_use]
    pub fn command<A: Into<OsString>>(mut self, argv: impl IntoIterator<Item = A>) -> Command {
        self.command.arg("--").args(argv.into_iter().map(Into::into));
        self.command
    }

    /// Runs the agent to its end.
    #[must_use]
    pub fn run<A: Into<OsString>>(self, argv: impl IntoIterator<Item = A>) -> Finished {
        let site = self.site;
        site.finish(&mut self.command(argv))
    }

    /// Runs a Python script to its end.
    #[must_use]
    pub fn python(self, script: &str) -> Finished {
        self.run([PYTHON, "-c", script])
    }

    /// Runs a shell script to its end.
    #[must_use]
    pub fn bash(self, script: &str) -> Finished {
        self.run(["/usr/bin/bash", "-euo", "pipefail", "-c", script])
    }

    /// Starts the agent.
    #[must_use]
    pub fn spawn<A: Into<OsString>>(self, argv: impl IntoIterator<Item = A>) -> Running {
        let site = self.site;
        Running::start(site, self.command(argv), Stdio::null())
    }

    /// Starts the agent on `stdin`.
    #[must_use]
    pub fn spawn_on(self, stdin: impl Into<Stdio>, argv: &[&str]) -> Running {
        let site = self.site;
        Running::start(site, self.command(argv), stdin)
    }
}

/// An agent that runs.
#[derive(Debug)]
pub struct Running {
    pub process: Owned,
    pub capture: Capture,
}

impl Running {
    /// Starts a command line that runs an agent.
    #[must_use]
    pub fn start(site: &Site, mut command: Command, stdin: impl Into<Stdio>) -> Self {
        let capture = Capture::new(&site.path("output"), &mut command);
        Self { process: Owned::spawn(command.stdin(stdin)), capture }
    }

    /// Waits until the agent printed `line`.
    pub fn await_line(&self, line: &str) {
        process::await_line(&self.capture.stdout, line);
    }

    /// The invocation's id, once it has one.
    #[must_use]
    pub fn invocation(&self) -> String {
        let [id] = self.invocations();
        id
    }

    /// The ids of so many runs, one inside the other, once they have them; the outermost first.
    #[must_use]
    pub fn invocations<const COUNT: usize>(&self) -> [String; COUNT] {
        let what = format!("{COUNT} invocation ids");
        tail::until(&self.capture.stderr, &what, |text| announced(text).try_into().ok())
    }

    /// Waits for the end.
    #[must_use]
    pub fn finish(mut self) -> (ExitStatus, Finished) {
        let status = self.process.wait();
        (status, Finished::new(status, &self.capture))
    }
}

impl Finished {
    /// The id of the invocation that this was a run of.
    ///
    /// # Panics
    /// If `run` announced none.
    #[track_caller]
    #[must_use]
    pub fn invocation(&self) -> String {
        let mut announced = announced(&self.stderr);
        assert!(!announced.is_empty(), "no invocation was announced\n{self}");
        announced.swap_remove(0)
    }
}

/// The ids in lines `agentguard: invocation ID level LEVEL policy NAME`.
#[must_use]
pub fn announced(stderr: &str) -> Vec<String> {
    let whole = stderr.split_inclusive('\n').filter(|line| line.ends_with('\n')); // one is perhaps being written
    let lines = whole.filter_map(|line| line.strip_prefix("agentguard: invocation "));
    lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}
