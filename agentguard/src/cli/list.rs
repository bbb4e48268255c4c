//! `ps` and `revoke`.

use std::path::Path;

use anyhow::Result;

use super::{Selector, client};
use crate::daemon::api::{Listed, Revoke, Revoked};

pub(super) fn ps(socket: &Path, json: bool) -> Result<()> {
    let all: Vec<Listed> = client::call(socket, "/v1/invocations", None::<&()>)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!(
        "{:<36} {:<16} {:<14} {:<18} {:<7} {:<8} {:>7} {:>5} {:>6} {:>8}",
        "INVOCATION", "AGENT", "PRINCIPAL", "POLICY", "LEVEL", "STATE", "PID", "TASKS", "DENIED", "EXPIRES"
    );
    for i in all {
        let expires = i.expires_in_s.map_or_else(|| "never".into(), |s| format!("{s}s"));
        println!(
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
        );
    }
    Ok(())
}

pub(super) fn revoke(socket: &Path, selector: Selector, kill: bool) -> Result<()> {
    let Selector { invocation, agent, principal, all } = selector;
    let revoked: Revoked =
        client::call(socket, "/v1/revoke", Some(&Revoke { invocation, agent, principal, all, kill }))?;
    for id in &revoked.invocations {
        println!("revoked {id}");
    }
    print!("every request is refused since {:.0} us after the call reached the daemon", revoked.store_us);
    match revoked.killed_us {
        Some(us) => println!("; {} processes killed, none left after {us:.0} us", revoked.killed),
        None => println!(),
    }
    Ok(())
}
