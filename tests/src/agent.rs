//! Runs of agents.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitStatus};

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
        let mut command = self.command(argv);
        let capture = Capture::new(&site.path("output"), &mut command);
        Running { process: Owned::spawn(&mut command), capture }
    }

    /// Starts the agent on `stdin`.
    #[must_use]
    pub fn spawn_on(self, stdin: impl Into<std::process::Stdio>, argv: &[&str]) -> Running {
        let site = self.site;
        let mut command = self.command(argv);
        let capture = Capture::new(&site.path("output"), &mut command);
        command.stdin(stdin);
        Running { process: Owned::spawn(&mut command), capture }
    }
}

/// An agent that runs.
#[derive(Debug)]
pub struct Running {
    pub process: Owned,
    pub capture: Capture,
}

impl Running {
    /// Waits until the agent printed `line`.
    pub fn await_line(&self, line: &str) {
        process::await_line(&self.capture.stdout, line);
    }

    /// The invocation's id, once it has one.
    #[must_use]
    pub fn invocation(&self) -> String {
        tail::until(&self.capture.stderr, "invocation id", announced)
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
        announced(&self.stderr).unwrap_or_else(|| panic!("no invocation was announced\n{self}"))
    }
}

/// The id in `agentguard: invocation ID level LEVEL policy NAME`.
fn announced(stderr: &str) -> Option<String> {
    let line = stderr.lines().find_map(|l| l.strip_prefix("agentguard: invocation "))?;
    line.split_once(' ').map(|(id, _)| id.to_owned())
}
