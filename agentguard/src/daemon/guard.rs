//! Rules that every policy gets, whatever it says: agents keep their hands off AgentGuard's own files.

use std::path::{Path, PathBuf};

use agentguard_common::file::Access;
use anyhow::{Context as _, Result};

use super::Config;
use crate::policy::glob;
use crate::policy::model::{Effect, FileRule, RuleSource};

/// The path as the kernel sees it: without symbolic links. The file itself need not be there yet.
fn resolved(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
    std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let parent = parent.canonicalize().with_context(|| parent.display().to_string())?;
    Ok(parent.join(name))
}

/// The rules.
///
/// # Errors
/// When the directories of the socket or the event log can't be made or resolved.
pub(super) fn rules(config: &Config) -> Result<Vec<FileRule>> {
    let changing = Access::WRITE.union(Access::CREATE).union(Access::DELETE).union(Access::LINK);
    let text = |path: PathBuf| {
        let shown = path.display().to_string();
        path.into_os_string().into_string().ok().with_context(|| format!("{shown} is not UTF-8"))
    };
    let rule = |effect, path: &str, below: bool, access| FileRule {
        effect,
        glob: glob::escape(path) + if below { "/**" } else { "" },
        access,
        source: RuleSource {
            document: "agentguard".into(),
            line: 0,
            reason: Some("AgentGuard's own".into()),
        },
    };
    let program = std::env::current_exe().context("the path of this program")?;
    let socket = text(resolved(&config.socket)?)?;
    let state = text(resolved(&config.state)?)?;
    let pins = text(std::path::absolute(&config.pins)?)?;
    Ok(vec![
        rule(Effect::Allow, &socket, false, Access::CONNECT), // to ask who it is, and to hand its authority on
        rule(Effect::Deny, &socket, false, changing),
        rule(Effect::Deny, &text(resolved(&config.events)?)?, false, Access::ALL),
        rule(Effect::Deny, &text(program)?, false, changing),
        rule(Effect::Deny, &pins, true, changing), // reading one needs bpf(2)
        rule(Effect::Deny, &state, false, Access::ALL),
        rule(Effect::Deny, &format!("{state}-wal"), false, Access::ALL),
        rule(Effect::Deny, &format!("{state}-shm"), false, Access::ALL),
    ])
}
