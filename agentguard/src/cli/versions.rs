//! `policy push`, `list`, `history`, `show` and `rollback`: policies that the daemon keeps.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::client::{self, escaped};
use super::output::say;
use crate::daemon::api::{Push, Pushed, Rollback, VersionListed, VersionShown};

pub(super) fn push(socket: &Path, file: &Path) -> Result<()> {
    let document = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let request = Push { file: file.display().to_string(), document };
    report(&client::call(socket, "/v1/policies", Some(&request))?)
}

pub(super) fn rollback(socket: &Path, name: &str, version: Option<i64>) -> Result<()> {
    let path = format!("/v1/policies/{}/rollback", escaped(name));
    report(&client::call(socket, &path, Some(&Rollback { version }))?)
}

fn report(pushed: &Pushed) -> Result<()> {
    let version = &pushed.version;
    say!("{} version {} {}", version.name, version.version, version.digest)?;
    for id in &pushed.switched {
        let part = if pushed.partial.contains(id) {
            " (network only: this level can't change rules for files, exec and privileges of what runs)"
        } else {
            ""
        };
        say!("in force for {id}{part}")?;
    }
    Ok(())
}

fn table(versions: &[VersionListed]) -> Result<()> {
    say!("{:<32} {:>7} {:<24} {:>6} DIGEST", "POLICY", "VERSION", "PUSHED", "BY")?;
    versions.iter().try_for_each(|v| {
        say!("{:<32} {:>7} {:<24} {:>6} {}", v.name, v.version, v.pushed, v.pushed_by, v.digest)
    })
}

pub(super) fn list(socket: &Path) -> Result<()> {
    table(&client::call::<Vec<_>>(socket, "/v1/policies", None::<&()>)?)
}

fn versions(socket: &Path, name: &str) -> Result<Vec<VersionListed>> {
    client::call(socket, &format!("/v1/policies/{}/versions", escaped(name)), None::<&()>)
}

pub(super) fn history(socket: &Path, name: &str) -> Result<()> {
    table(&versions(socket, name)?)
}

pub(super) fn show(socket: &Path, name: &str, version: Option<i64>) -> Result<()> {
    let number = match version {
        Some(number) => number,
        None => versions(socket, name)?.first().map_or(0, |newest| newest.version),
    };
    let path = format!("/v1/policies/{}/versions/{number}", escaped(name));
    let shown: VersionShown = client::call(socket, &path, None::<&()>)?;
    say!("{}", shown.document.trim_end())
}
