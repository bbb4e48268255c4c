//! `adopt`: what runs already, or comes to a cgroup, gets an identity.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::output::say;
use super::run::{Asked, daemon_at};
use super::{Places, client};
use crate::daemon::api;
use crate::launch::identity::{self, RunAs};

#[derive(Debug, Args)]
pub(super) struct Adopt {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    asked: Asked,
    /// The directory that the policy calls ${workspace}; the process's current one, or / for a cgroup, by default.
    #[arg(long)]
    workspace: Option<PathBuf>,
    /// The user whose name and home the policy means; who the process runs as by default, or root for a cgroup.
    #[arg(long)]
    user: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// A process: it, its threads and everything below it.
    pid: Option<u32>,
    /// A cgroup, by its directory or as /proc/PID/cgroup and `systemctl show -P ControlGroup UNIT` say it: who is in it, and
    /// whoever begins there, is moved there or executes a program there.
    #[arg(long)]
    cgroup: Option<String>,
}

fn proc(pid: u32, name: &str) -> String {
    format!("/proc/{pid}/{name}")
}

/// Who a process runs as.
fn owner(pid: u32) -> Result<RunAs> {
    let path = proc(pid, "status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let effective = uids.and_then(|uids| uids.split_whitespace().nth(1)).context(path)?;
    identity::invoking_user(Some(effective))
}

impl Adopt {
    fn request(&self) -> Result<api::Adopt> {
        let Target { pid, cgroup } = &self.target;
        let run_as = match (&self.user, pid) {
            (None, Some(pid)) => owner(*pid)?,
            (user, _) => identity::invoking_user(Some(user.as_deref().unwrap_or("root")))?,
        };
        let (workspace, name) = match (pid, cgroup) {
            (Some(pid), _) => {
                let name = std::fs::read_to_string(proc(*pid, "comm")).unwrap_or_default();
                (PathBuf::from(proc(*pid, "cwd")), name.trim_end().to_owned())
            }
            (None, cgroup) => {
                let name = cgroup.as_deref().and_then(|path| Path::new(path).file_name()).unwrap_or_default();
                (PathBuf::from("/"), name.to_string_lossy().into_owned())
            }
        };
        let run = self.asked.start(&run_as, self.workspace.as_deref().unwrap_or(&workspace), &name)?;
        Ok(api::Adopt { pid: *pid, cgroup: cgroup.clone(), run })
    }

    pub(super) fn execute(self, places: &Places) -> Result<()> {
        let request = self.request()?;
        daemon_at(places, request.run.level)?;
        let adopted: api::Adopted = client::call(&places.socket, "/v1/adopt", Some(&request))?;
        if self.json {
            return say!("{}", serde_json::to_string(&adopted)?);
        }
        let started = &adopted.started;
        say!(
            "invocation {} level {} policy {} tasks {}{}",
            started.invocation,
            started.level.name(),
            started.policy.name,
            adopted.tasks,
            if started.degraded { " DEGRADED: not all of it is enforced" } else { "" }
        )
    }
}
