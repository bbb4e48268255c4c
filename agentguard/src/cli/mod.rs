//! The command line: raw arguments, then a validated request, then the work.

mod client;
mod doctor;
mod events;
mod list;
pub mod output;
mod run;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::daemon::Config;
use crate::kernel::Level;

/// Kernel-enforced identity, policy and evidence for AI agents.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// Control socket of the daemon.
    #[arg(long, global = true, default_value = "/run/agentguard/agentguard.sock")]
    socket: PathBuf,
    /// Event log (JSON lines).
    #[arg(long, global = true, default_value = "/var/lib/agentguard/events.jsonl")]
    event_log: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command as an agent, under its own identity and policy.
    Run(run::Run),
    /// Load the kernel plane and serve the control socket.
    Daemon(Daemon),
    /// List invocations.
    Ps {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take an invocation's authority away, at once.
    Revoke(Revoke),
    /// Print events.
    Events {
        /// Go on with events as they come (needs the daemon).
        #[arg(long, short)]
        follow: bool,
        /// JSON lines as recorded, instead of one readable line each.
        #[arg(long)]
        json: bool,
    },
    /// Work with policy documents.
    #[command(subcommand)]
    Policy(Policy),
    /// Say what this machine can enforce, and why not more, by trying.
    Doctor(Doctor),
}

#[derive(Debug, Args)]
struct Doctor {
    /// Load each kernel program by itself, attaching none, and say what the verifier made of it.
    #[arg(long)]
    programs: bool,
    /// Level whose programs are loaded [default: lsm].
    #[arg(long, value_enum, default_value_t = LevelChoice::Auto, hide_default_value = true, requires = "programs")]
    level: LevelChoice,
    /// As JSON.
    #[arg(long, requires = "programs")]
    json: bool,
}

#[derive(Debug, Args)]
struct Daemon {
    #[arg(long, value_enum, default_value_t = LevelChoice::Auto)]
    level: LevelChoice,
    /// End when the last invocation has ended.
    #[arg(long)]
    ephemeral: bool,
    /// Write a byte to this file descriptor once the socket accepts.
    #[arg(long, hide = true)]
    ready_fd: Option<i32>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Selector {
    /// Invocation id, as in `agentguard ps`.
    invocation: Option<String>,
    /// Every run of this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Every run for this principal.
    #[arg(long)]
    principal: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    #[command(flatten)]
    selector: Selector,
    /// Kill the processes too (always done at level compat).
    #[arg(long)]
    kill: bool,
}

#[derive(Debug, Subcommand)]
enum Policy {
    /// Check a document: syntax, globs, addresses, includes, and what each level can enforce.
    Check {
        file: PathBuf,
        /// Also list where level compat is stricter than the policy on this machine.
        #[arg(long)]
        notes: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelChoice {
    Auto,
    Lsm,
    Compat,
}

impl From<LevelChoice> for Option<Level> {
    fn from(choice: LevelChoice) -> Self {
        match choice {
            LevelChoice::Auto => None,
            LevelChoice::Lsm => Some(Level::Lsm),
            LevelChoice::Compat => Some(Level::Compat),
        }
    }
}

impl Cli {
    /// Exit status when [`main`] fails: `run` keeps clear of what the command itself may say.
    #[must_use]
    pub const fn failure_status(&self) -> u8 {
        if matches!(self.command, Command::Run(_)) { run::REFUSED } else { 1 }
    }
}

/// Runs the command line.
///
/// # Errors
/// What went wrong, as a chain of causes.
pub fn main(cli: Cli) -> Result<()> {
    match execute(cli) {
        Err(e) if e.is::<output::Unread>() => Ok(()),
        other => other,
    }
}

fn execute(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Run(run) => run.execute(&cli.socket, &cli.event_log),
        Command::Daemon(daemon) => {
            let config = Config {
                socket: cli.socket,
                events: cli.event_log,
                level: daemon.level.into(),
                ephemeral: daemon.ephemeral,
            };
            crate::daemon::run(&config, || ready(daemon.ready_fd))
        }
        Command::Ps { json } => list::ps(&cli.socket, json),
        Command::Revoke(revoke) => list::revoke(&cli.socket, revoke.selector, revoke.kill),
        Command::Events { follow, json } => events::print(&cli.socket, &cli.event_log, follow, json),
        Command::Policy(Policy::Check { file, notes }) => run::check(&file, notes),
        Command::Doctor(Doctor { programs: true, level, json }) => doctor::programs(level.into(), json),
        Command::Doctor(_) => doctor::print(&cli.socket),
    }
}

fn ready(fd: Option<i32>) {
    use std::io::Write as _;
    use std::os::fd::FromRawFd as _;
    if let Some(fd) = fd {
        // SAFETY: the launcher passed this fd for this purpose; nothing else owns it.
        let mut pipe = unsafe { std::fs::File::from_raw_fd(fd) };
        let _ = pipe.write_all(b"r"); // a launcher that is gone needs no answer
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")
}
