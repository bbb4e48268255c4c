//! `extend`, `whoami`, `explain` and `uninstall`.

use std::path::Path;

use anyhow::{Result, ensure};
use clap::Args;

use super::client;
use super::output::say;
use super::run::seconds;
use crate::daemon::api::{self, Explained, Extended, Listed};
use crate::kernel::pins;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Invocation id, as in `agentguard ps`.
    invocation: String,
    /// read, write, create, delete, exec, link, connect or bind.
    operation: String,
    /// An absolute path, the @name of an abstract socket, or ADDRESS:PORT.
    object: String,
    /// For addresses: tcp, udp, or a number.
    #[arg(long)]
    protocol: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn execute(self, socket: &Path) -> Result<()> {
        let Self { invocation, operation, object, protocol, json } = self;
        let request = api::Explain { invocation, operation, object, protocol };
        let answer: Explained = client::call(socket, "/v1/explain", Some(&request))?;
        if json {
            return say!("{}", serde_json::to_string(&answer)?);
        }
        let place = match (&answer.document, answer.line) {
            (Some(document), Some(line)) => format!("{document}:{line} `{}`", answer.rule),
            _ => answer.rule.clone(),
        };
        let tool = answer.tool.map_or_else(String::new, |tool| format!(", as tool {tool}"));
        let audit = if answer.audit { " (audit: only recorded)" } else { "" };
        say!("{} ({}) by policy {}: {place}{tool}{audit}", answer.decision, answer.reason, answer.policy)
    }
}

pub(super) fn extend(socket: &Path, invocation: &str, ttl: &str) -> Result<()> {
    let request = api::Extend { ttl_s: seconds(ttl)? };
    let extended: Extended = client::call(
        socket,
        &format!("/v1/invocations/{}/extend", client::escaped(invocation)),
        Some(&request),
    )?;
    let ends = extended.expires_in_s.map_or_else(|| "never expires".into(), |s| format!("expires in {s}s"));
    let bound = if extended.bounded { ", the most that its policy and its parent allow" } else { "" };
    say!("{} {ends}{bound}", extended.invocation)
}

pub(super) fn whoami(socket: &Path, json: bool) -> Result<()> {
    let own: Listed = client::call(socket, "/v1/whoami", None::<&()>)?;
    if json {
        return say!("{}", serde_json::to_string_pretty(&own)?);
    }
    let mut chain = vec![own.principal.clone()];
    chain.extend(own.delegation.iter().map(|step| step.agent.clone()));
    chain.push(own.agent.clone());
    say!(
        "{} {} under policy {} ({}), {}",
        own.invocation,
        chain.join(" -> "),
        own.policy,
        own.policy_digest,
        own.state
    )
}

pub(super) fn uninstall(socket: &Path, at: &Path, force: bool) -> Result<()> {
    if !force && let Ok(all) = client::call::<Vec<Listed>>(socket, "/v1/invocations", None::<&()>) {
        let live = all.iter().filter(|i| i.state != "ended").count();
        ensure!(live == 0, "{live} invocations are enforced; hint: agentguard ps, or --force");
    }
    let found = pins::uninstall(at, force)?;
    if found.is_empty() {
        return say!("nothing is pinned at {}", at.display());
    }
    say!("detached and removed {} below {}", found.join(", "), at.display())
}
