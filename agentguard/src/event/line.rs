//! The JSON of a record, written field by field: a line has thirty, and each goes through a dozen calls in a serializer that
//! must take any type. What it writes `serde` reads: see the tests of [`super::record`].

use serde::Serialize;
use serde_json::Result;

use super::plain::is_plain;
use super::record::{Actor, Detail, Process, Rendered, What, When};

/// What stands before a value: the comma, and its name.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

// Inlined, so that what stands before is copied as a constant, not by a call.
#[inline(always)]
fn number(line: &mut Vec<u8>, before: &'static str, value: impl Into<u64>) {
    line.extend_from_slice(before.as_bytes());
    digits(line, value.into());
}

#[inline(never)]
fn digits(line: &mut Vec<u8>, value: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn other(line: &mut Vec<u8>, before: &'static str, value: &impl Serialize) -> Result<()> {
    line.extend_from_slice(before.as_bytes());
    serde_json::to_writer(line, value)
}

#[inline(always)]
fn text(line: &mut Vec<u8>, before: &'static str, value: &str) -> Result<()> {
    line.extend_from_slice(before.as_bytes());
    quoted(line, value)
}

#[inline(never)]
fn quoted(line: &mut Vec<u8>, value: &str) -> Result<()> {
    if !is_plain(value.as_bytes()) {
        return serde_json::to_writer(line, value);
    }
    line.reserve(value.len() + 2);
    line.push(b'"');
    line.extend_from_slice(value.as_bytes());
    line.push(b'"');
    Ok(())
}

impl Rendered {
    /// Ends a process: as whom it acts, and its cgroup. Nearly always that is what it was in the record before.
    fn end_process(&mut self, line: &mut Vec<u8>, actor: Actor) {
        if self.actor.as_ref().is_none_or(|(last, _)| *last != actor) {
            let (uid, gid, cgroup) = actor;
            let mut text = Vec::new();
            number(&mut text, name!("uid"), uid);
            number(&mut text, name!("gid"), gid);
            number(&mut text, name!("cgroup"), cgroup);
            text.push(b'}');
            self.actor = Some((actor, text));
        }
        if let Some((_, text)) = &self.actor {
            line.extend_from_slice(text);
        }
    }
}

/// Adds a record's line. What it has added so far stays where it fails.
pub(super) fn add(line: &mut Vec<u8>, when: &When<'_>, whose: &mut Rendered, what: &What<'_>) -> Result<()> {
    // Every field by name, so that the compiler misses a new one.
    let When { time, boot_ns, seq } = when;
    let What { action, object, access, decision, reason, rule, errno, process, detail } = what;
    text(line, "{\"time\":", time)?;
    number(line, name!("boot_ns"), *boot_ns);
    if let Some(seq) = seq {
        number(line, name!("seq"), *seq);
    }
    line.extend_from_slice(&whose.text);
    text(line, name!("action"), action)?;
    if !object.is_empty() {
        text(line, name!("object"), object)?;
    }
    if !access.is_empty() {
        other(line, name!("access"), access)?;
    }
    text(line, name!("decision"), decision)?;
    text(line, name!("reason"), reason)?;
    if let Some(rule) = rule {
        other(line, name!("rule"), rule)?;
    }
    if let Some(errno) = errno {
        text(line, name!("errno"), errno)?;
    }
    if let Some(process) = process {
        add_process(line, whose, process)?;
    }
    add_detail(line, detail)?;
    line.extend_from_slice(b"}\n");
    Ok(())
}

fn add_process(line: &mut Vec<u8>, whose: &mut Rendered, process: &Process<'_>) -> Result<()> {
    let Process { pid, tid, ppid, exe, comm, uid, gid, cgroup } = process;
    number(line, ",\"process\":{\"pid\":", *pid);
    number(line, name!("tid"), *tid);
    number(line, name!("ppid"), *ppid);
    if let Some(exe) = exe {
        text(line, name!("exe"), exe)?;
    }
    text(line, name!("comm"), comm)?;
    whose.end_process(line, (*uid, *gid, *cgroup));
    Ok(())
}

fn add_detail(line: &mut Vec<u8>, detail: &Detail<'_>) -> Result<()> {
    if detail.is_empty() {
        return Ok(());
    }
    line.extend_from_slice(name!("detail").as_bytes());
    let mut before = b'{';
    for (name, value) in detail.iter() {
        line.push(before);
        quoted(line, name)?;
        match value.as_u64() {
            Some(value) => number(line, ":", value),
            None => other(line, ":", value)?,
        }
        before = b',';
    }
    line.push(b'}');
    Ok(())
}
