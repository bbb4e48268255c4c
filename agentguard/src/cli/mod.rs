//! The command line: raw arguments, then a validated request, then the work.

mod adopt;
mod authority;
mod client;
mod doctor;
mod events;
mod list;
pub mod output;
mod policy;
mod run;
mod versions;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::daemon::Config;
use crate::kernel::{Level, pins};

/// Kernel-enforced identity, policy and evidence for AI agents.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command as an agent, under its own identity and policy.
    Run(run::Run),
    /// Make what runs already, or comes to a cgroup, an agent run. It keeps what it has open.
    Adopt(adopt::Adopt),
    /// Load the kernel plane and serve the control socket.
    Daemon(Daemon),
    /// List invocations.
    Ps {
        /// Only those with processes that nobody answers for any more, and why: who started them is gone, or their time is
        /// over.
        #[arg(long)]
        orphaned: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take an invocation's authority away, at once.
    Revoke(Revoke),
    /// Move the end of an invocation's life, as far as its policy allows.
    Extend {
        /// Invocation id, as in `agentguard ps`.
        invocation: String,
        /// Time to live from now on, such as 90s, 15m, 8h.
        #[arg(long)]
        ttl: String,
    },
    /// Say who the caller is: the invocation that it runs as.
    Whoami {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say whether a running invocation may do something, and by which rule.
    Explain(authority::Explain),
    /// Detach everything from the kernel and remove what is pinned. Nothing is enforced any more then.
    Uninstall {
        /// Also while invocations are enforced.
        #[arg(long)]
        force: bool,
    },
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
    Policy(policy::Policy),
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
    /// Group whose members administer, beside root [default: agentguard, where there is one].
    #[arg(long)]
    operators: Option<String>,
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
    /// Every run under a policy of this name.
    #[arg(long)]
    policy: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    #[command(flatten)]
    selector: Selector,
    /// Kill the processes too (done at level compat unless --freeze), also those left of what was revoked before.
    #[arg(long)]
    kill: bool,
    /// Stop the processes instead, and leave them there: `revoke --kill` ends them later.
    #[arg(long, conflicts_with = "kill")]
    freeze: bool,
}

/// Where the daemon finds and leaves things.
#[derive(Debug, Args)]
struct Places {
    /// Control socket of the daemon.
    #[arg(long, global = true, default_value = "/run/agentguard/agentguard.sock")]
    socket: PathBuf,
    /// Event log (JSON lines).
    #[arg(long, global = true, default_value = "/var/lib/agentguard/events.jsonl")]
    event_log: PathBuf,
    /// State database of the daemon.
    #[arg(long, global = true, default_value = "/var/lib/agentguard/state.db")]
    state: PathBuf,
    /// Where the daemon pins what outlives it, on a BPF file system.
    #[arg(long, global = true, default_value = pins::DEFAULT)]
    pins: PathBuf,
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
        match &self.command {
            Command::Run(_) => run::REFUSED,
            Command::Policy(policy) => policy.failure_status(),
            _ => 1,
        }
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
        Command::Run(run) => run.execute(&cli.places),
        Command::Adopt(adopt) => adopt.execute(&cli.places),
        Command::Daemon(daemon) => {
            let config = Config {
                socket: cli.places.socket,
                events: cli.places.event_log,
                level: daemon.level.into(),
                ephemeral: daemon.ephemeral,
                state: cli.places.state,
                pins: cli.places.pins,
                operators: daemon.operators,
            };
            crate::daemon::run(&config, || ready(daemon.ready_fd))
        }
        Command::Ps { orphaned, json } => list::ps(&cli.places.socket, orphaned, json),
        Command::Revoke(revoke) => list::revoke(&cli.places.socket, revoke),
        Command::Extend { invocation, ttl } => authority::extend(&cli.places.socket, &invocation, &ttl),
        Command::Whoami { json } => authority::whoami(&cli.places.socket, json),
        Command::Explain(explain) => explain.execute(&cli.places.socket),
        Command::Uninstall { force } => authority::uninstall(&cli.places.socket, &cli.places.pins, force),
        Command::Events { follow, json } => {
            events::print(&cli.places.socket, &cli.places.event_log, follow, json)
        }
        Command::Policy(policy) => policy.execute(&cli.places.socket),
        Command::Doctor(Doctor { programs: true, level, json }) => doctor::programs(level.into(), json),
        Command::Doctor(_) => doctor::print(&cli.places.socket),
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
