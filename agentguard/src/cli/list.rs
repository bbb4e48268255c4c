//! `ps` and `revoke`.

use std::path::Path;

use anyhow::Result;

use super::output::say;
use super::{Selector, client};
use crate::daemon::api::{Listed, Revoke, Revoked};

pub(super) fn ps(socket: &Path, orphaned: bool, json: bool) -> Result<()> {
    let path = if orphaned { "/v1/invocations?orphaned=true" } else { "/v1/invocations" };
    let all: Vec<Listed> = client::call(socket, path, None::<&()>)?;
    if json {
        say!("{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    say!(
        "{:<36} {:<16} {:<14} {:<18} {:<7} {:<8} {:>7} {:>5} {:>6} {:>8}{}",
        "INVOCATION",
        "AGENT",
        "PRINCIPAL",
        "POLICY",
        "LEVEL",
        "STATE",
        "PID",
        "TASKS",
        "DENIED",
        "EXPIRES",
        if orphaned { "  WHY" } else { "" }
    )?;
    for i in all {
        let why: Vec<_> = i.orphaned.iter().map(|why| why.name()).collect();
        let why = if orphaned { format!("  {}", why.join(", ")) } else { String::new() };
        let expires = i.expires_in_s.map_or_else(|| "never".into(), |s| format!("{s}s"));
        say!(
            "{:<36} {:<16} {:<14} {:<18} {:<7} {:<8} {:>7} {:>5} {:>6} {expires:>8}{why}",
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

pub(super) fn revoke(socket: &Path, arguments: super::Revoke) -> Result<()> {
    let super::Revoke { selector: Selector { invocation, agent, principal, policy, all }, kill, freeze } =
        arguments;
    let request = Revoke { invocation, agent, principal, policy, all, kill, freeze };
    let revoked: Revoked = client::call(socket, "/v1/revoke", Some(&request))?;
    for id in &revoked.invocations {
        say!("revoked {id}")?;
    }
    for id in &revoked.leftovers {
        say!("revoked before, and not gone: {id}")?;
    }
    let fate = match (revoked.killed_us, revoked.frozen_us) {
        (Some(us), _) => format!("{} processes killed, none left after {us:.0} us", revoked.killed),
        (None, Some(us)) => format!("{} processes frozen, every thread after {us:.0} us", revoked.frozen),
        (None, None) => String::new(),
    };
    if revoked.invocations.is_empty() {
        return say!("{fate}");
    }
    let us = revoked.store_us;
    let fate = if fate.is_empty() { fate } else { format!("; {fate}") };
    say!("every request is refused since {us:.0} us after the call reached the daemon{fate}")
}
