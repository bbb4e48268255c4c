//! `events`: the log, and the stream.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::client;
use super::output::say;
use crate::event::record::Record;

pub(super) fn print(socket: &Path, log: &Path, follow: bool, json: bool) -> Result<()> {
    if !follow {
        let file = std::fs::File::open(log).with_context(|| {
            format!("{}: no event log; hint: nothing ran yet, or --event-log", log.display())
        })?;
        for line in BufReader::new(file).lines() {
            show(&line?, json)?;
        }
        return Ok(());
    }
    let mut rest = Vec::new();
    client::stream(socket, "/v1/events", |data| {
        rest.extend_from_slice(data);
        while let Some(end) = rest.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            show(String::from_utf8_lossy(&line).trim_end(), json)?;
        }
        Ok(())
    })
}

fn show(line: &str, json: bool) -> Result<()> {
    if json {
        return say!("{line}");
    }
    let record: Record<'_> = serde_json::from_str(line).with_context(|| format!("not an event: {line}"))?;
    let Record { when, whose, what } = record;
    let process = what.process.unwrap_or_default();
    let seq = when.seq.map_or_else(|| "-".into(), |s| s.to_string());
    let rule = what.rule.map(|r| match (r.document, r.line) {
        (Some(document), Some(line)) => format!(" by {document}:{line} `{}`", r.text),
        _ => format!(" by {}", r.text),
    });
    say!(
        "{} {} {}#{seq} {}{} {}{}{}{}{}",
        when.time,
        whose.agent,
        whose.invocation,
        if process.pid == 0 { String::new() } else { format!("{}[{}] ", process.comm, process.pid) },
        what.decision,
        what.action,
        if what.access.is_empty() { String::new() } else { format!(" {}", what.access.join("+")) },
        if what.object.is_empty() { String::new() } else { format!(" {}", what.object) },
        if what.reason.is_empty() { String::new() } else { format!(" ({})", what.reason) },
        rule.unwrap_or_default()
    )
}
