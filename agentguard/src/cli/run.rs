//! `run`: this process gets an identity, restricts itself where the level needs it, and becomes the command.

use std::ffi::{CString, OsStr, OsString};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::output;
use super::{LevelChoice, Places, client};
use crate::daemon::api::{Start, Started};
use crate::kernel::Level;
use crate::launch::{capabilities, environment, identity, inherited, landlock, mask};
use crate::policy::{self, model::Mode};

/// Exit status when the run was refused and the command never started; with the next two as for env(1).
pub(super) const REFUSED: u8 = 125;
/// Exit status when the command could not be executed.
const NOT_EXECUTABLE: i32 = 126;
/// Exit status when there is no such command.
const NOT_FOUND: i32 = 127;

/// What is asked for, whoever gets the identity.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Policy: a file, or the name of one that was pushed or is shipped.
    #[arg(long, default_value = "coding-agent")]
    policy: String,
    /// On whose behalf; the invoking user by default.
    #[arg(long)]
    principal: Option<String>,
    /// The agent's name; the command's, process's or cgroup's by default.
    #[arg(long)]
    agent: Option<String>,
    /// What the run is for, by whoever hands out work: a ticket, a job.
    #[arg(long, default_value = "")]
    task: String,
    /// What the run is for, in words.
    #[arg(long, default_value = "")]
    purpose: String,
    /// Time to live, such as 90s, 15m, 8h; the policy's ttl is the most.
    #[arg(long)]
    ttl: Option<String>,
    #[arg(long, value_enum, default_value_t = LevelChoice::Auto)]
    level: LevelChoice,
    /// Run although this level cannot enforce the whole policy; every event is marked.
    #[arg(long)]
    allow_degraded: bool,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    asked: Asked,
    /// The directory that the policy calls ${workspace}; the current one by default.
    #[arg(long)]
    workspace: Option<PathBuf>,
    /// Run as this user; under sudo the invoking user by default.
    #[arg(long)]
    user: Option<String>,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Seconds of a duration such as `90s`, `15m`, `8h`, `2d`.
pub(super) fn seconds(text: &str) -> Result<u64> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let n: u64 = number.parse().with_context(|| format!("--ttl {text:?}; hint: 90s, 15m, 8h"))?;
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => bail!("--ttl {text:?}: unknown unit {unit:?}; hint: s, m, h or d"),
    };
    n.checked_mul(factor).with_context(|| format!("--ttl {text:?} is too long"))
}

/// The principal of an agent that root starts for the user who called sudo. An agent's own agents act for whom it acts.
fn by_sudo(run_as: &identity::RunAs) -> Option<String> {
    let nested = std::env::var_os("AGENTGUARD_INVOCATION").is_some();
    let other = run_as.uid != nix::unistd::getuid().as_raw();
    (other && !nested).then(|| format!("user:{}", run_as.user))
}

/// The text of a file, or of a shipped policy.
pub(super) fn text(name: &str) -> Result<(String, String)> {
    let (name, text) = document(name)?;
    match text.or_else(|| policy::builtin(&name).map(str::to_owned)) {
        Some(text) => Ok((name, text)),
        None => {
            let names: Vec<_> = policy::builtin_names().into_iter().collect();
            bail!("no shipped policy is called {name:?}; hint: one of {names:?}, or a file")
        }
    }
}

/// The policy's name, and its text if that is a file.
fn document(name: &str) -> Result<(String, Option<String>)> {
    if name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml") {
        let text = std::fs::read_to_string(name).with_context(|| format!("policy {name}"))?;
        return Ok((name.to_owned(), Some(text)));
    }
    Ok((name.to_owned(), None))
}

impl Asked {
    /// The request, for who is `run_as` in `workspace`.
    pub(super) fn start(&self, run_as: &identity::RunAs, workspace: &Path, agent: &str) -> Result<Start> {
        let (policy_name, policy) = document(&self.policy)?;
        let workspace =
            workspace.canonicalize().with_context(|| format!("workspace {}", workspace.display()))?;
        Ok(Start {
            policy_name,
            policy,
            task: self.task.clone(),
            variables: policy::Variables {
                home: run_as.home.to_string_lossy().into_owned(),
                workspace: workspace.to_str().context("the workspace's path is not UTF-8")?.to_owned(),
                user: run_as.user.clone(),
                uid: run_as.uid,
                tmp: "/tmp".into(),
            },
            agent: self.agent.clone().unwrap_or_else(|| agent.to_owned()),
            principal: self.principal.clone().or_else(|| by_sudo(run_as)),
            purpose: self.purpose.clone(),
            ttl_s: self.ttl.as_deref().map(seconds).transpose()?,
            level: self.level.into(),
            allow_degraded: self.allow_degraded,
        })
    }
}

impl Run {
    fn start(&self, run_as: &identity::RunAs) -> Result<Start> {
        let workspace = match &self.workspace {
            Some(dir) => dir.clone(),
            None => std::env::current_dir().context("the current directory")?,
        };
        let program = Path::new(&self.command[0]).file_name().unwrap_or_default().to_string_lossy();
        self.asked.start(run_as, &workspace, &program)
    }

    pub(super) fn execute(self, places: &Places) -> Result<()> {
        let run_as = identity::invoking_user(self.user.as_deref())?;
        let request = self.start(&run_as)?;
        let socket = &places.socket;
        daemon_at(places, request.level)?;
        let started: Started = client::call(socket, "/v1/invocations", Some(&request))?;
        output::note(format_args!(
            "invocation {} level {} policy {}{}",
            started.invocation,
            started.level.name(),
            started.policy.name,
            if started.degraded { " DEGRADED: not all of it is enforced" } else { "" }
        ));
        let vars = identity::login_variables(&run_as, std::env::vars_os());
        let env = environment::filter(&started.policy.environment, vars);
        inherited::close_inherited()?;
        let landlocked = started.level == Level::Compat && started.policy.mode == Mode::Enforce;
        let plan = landlocked.then(|| landlock::plan(&started.policy)); // it looks around: not at level lsm
        if let Some(plan) = plan.as_ref().filter(|plan| !plan.unenforceable.is_empty()) {
            let masked = mask::mask(&started.policy, plan).context("masking denied files")?;
            output::note(format_args!("{} denied files that exist now are masked", masked.len()));
        }
        if landlocked && nix::unistd::geteuid().is_root() {
            capabilities::give_up(started.policy.privileges)?;
        }
        identity::drop_to(&run_as)?;
        identity::no_new_privs()?;
        // As the agent's user, whose rights may differ, and before anything else is restricted.
        let Some(program) = which(&self.command[0], &env) else {
            output::note(format_args!("error: {}: not found in PATH", self.command[0].to_string_lossy()));
            std::process::exit(NOT_FOUND)
        };
        if let Some(plan) = plan {
            landlock::apply(&plan).context("Landlock")?;
        }
        let error = Command::new(&program)
            .arg0(&self.command[0])
            .args(&self.command[1..])
            .env_clear()
            .envs(env)
            .env("AGENTGUARD_INVOCATION", &started.invocation)
            .exec();
        let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
        output::note(format_args!("error: executing {}: {error}", program.display()));
        std::process::exit(code)
    }
}

/// Finds the program in the agent's PATH.
fn which(name: &OsStr, env: &[(OsString, OsString)]) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    let path = env.iter().find(|(name, _)| name == "PATH").map_or(OsStr::new("/usr/bin:/bin"), |(_, v)| v);
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| {
        CString::new(file.as_os_str().as_bytes())
            // SAFETY: a NUL-terminated path that lives across the call.
            .is_ok_and(|c| file.is_file() && unsafe { libc::access(c.as_ptr(), libc::X_OK) } == 0)
    })
}

/// Sees to it that a daemon listens.
pub(super) fn daemon_at(places: &Places, level: Option<Level>) -> Result<()> {
    match std::os::unix::net::UnixStream::connect(&places.socket) {
        Ok(_) => Ok(()),
        Err(_) => start_daemon(places, level),
    }
}

/// Starts a daemon that lives as long as there are invocations, detached from this process tree.
fn start_daemon(places: &Places, level: Option<Level>) -> Result<()> {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "no daemon listens at {}, and only root can start one; hint: sudo agentguard daemon",
            places.socket.display()
        );
    }
    let (mut ready, writer) = std::io::pipe()?;
    let fd = writer.as_raw_fd();
    let mut command = Command::new(std::env::current_exe()?);
    let Places { socket, event_log: events, state, pins } = places;
    for (option, path) in
        [("--socket", socket), ("--event-log", events), ("--state", state), ("--pins", pins)]
    {
        command.arg(option).arg(std::path::absolute(path)?);
    }
    command.args(["daemon", "--ephemeral", "--ready-fd", &fd.to_string()]);
    command.args(["--level", level.map_or("auto", Level::name)]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
    // SAFETY: async-signal-safe calls only: of the open files only this fd survives exec, and a second fork leaves
    // no child behind.
    unsafe {
        command.pre_exec(move || {
            inherited::close_inherited()?;
            libc::fcntl(fd, libc::F_SETFD, 0);
            libc::setsid();
            match libc::fork() {
                0 => Ok(()),
                -1 => Err(std::io::Error::last_os_error()),
                _ => libc::_exit(0),
            }
        });
    }
    let mut child = command.spawn().context("starting the daemon")?;
    drop(writer);
    child.wait()?;
    let mut byte = [0];
    if ready.read(&mut byte)? != 1 {
        bail!("the daemon did not start (its message is above)");
    }
    Ok(())
}
