//! `ps` and `revoke`.

use std::path::Path;

use anyhow::Result;

use super::output::say;
use super::{Selector, client};
use crate::daemon::api::{Listed, Revoke, Revoked};

pub(super) fn ps(socket: &Path, json: bool) -> Result<()> {
    let all: Vec<Listed> = client::call(socket, "/v1/invocations", None::<&()>)?;
    if json {
        say!("{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    say!(
        "{:<36} {:<16} {:<14} {:<18} {:<7} {:<8} {:>7} {:>5} {:>6} {:>8}",
        "INVOCATION",
        "AGENT",
        "PRINCIPAL",
        "POLICY",
        "LEVEL",
        "STATE",
        "PID",
        "TASKS",
        "DENIED",
        "EXPIRES"
    )?;
    for i in all {
        let expires = i.expires_in_s.map_or_else(|| "never".into(), |s| format!("{s}s"));
        say!(
            "{:<36} {:<16} {:<14} {:<18} {:<7} {:<8} {:>7} {:>5} {:>6} {expires:>8}",
            i.invocation,
            i.agent,
            i.principal,
            i.policy,
            i.level.name(),
            i.state,
            i.pid,
            i.tasks,
            i.denied
        )?;
    }
    Ok(())
}

pub(super) fn revoke(socket: &Path, selector: Selector, kill: bool) -> Result<()> {
    let Selector { invocation, agent, principal, all } = selector;
    let revoked: Revoked =
        client::call(socket, "/v1/revoke", Some(&Revoke { invocation, agent, principal, all, kill }))?;
    for id in &revoked.invocations {
        say!("revoked {id}")?;
    }
    let killed = revoked.killed_us.map_or_else(String::new, |us| {
        format!("; {} processes killed, none left after {us:.0} us", revoked.killed)
    });
    let us = revoked.store_us;
    say!("every request is refused since {us:.0} us after the call reached the daemon{killed}")
}
