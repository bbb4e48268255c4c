//! The JSON of a record, written field by field: a line has thirty, and each goes through a dozen calls in a serializer that
//! must take any type. What it writes `serde` reads: see the tests of [`super::record`].

use serde::Serialize;
use serde_json::Result;

use super::record::{Detail, Process, Rendered, What, When};

/// What stands before a value: the comma, and its name.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

fn number(line: &mut Vec<u8>, before: &str, value: impl itoa::Integer) {
    line.extend_from_slice(before.as_bytes());
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn other(line: &mut Vec<u8>, before: &str, value: &impl Serialize) -> Result<()> {
    line.extend_from_slice(before.as_bytes());
    serde_json::to_writer(line, value)
}

fn text(line: &mut Vec<u8>, before: &str, value: &str) -> Result<()> {
    let bytes = value.as_bytes();
    // Without a branch for each byte, so that many are looked at together.
    let escapes = bytes.iter().fold(false, |any, b| any | (*b < b' ') | (*b == b'"') | (*b == b'\\'));
    if escapes {
        return other(line, before, &value);
    }
    line.reserve(before.len() + bytes.len() + 2);
    line.extend_from_slice(before.as_bytes());
    line.push(b'"');
    line.extend_from_slice(bytes);
    line.push(b'"');
    Ok(())
}

/// Adds a record's line. What it has added so far stays where it fails.
pub(super) fn add(line: &mut Vec<u8>, when: &When, whose: &Rendered, what: &What<'_>) -> Result<()> {
    // Every field by name, so that the compiler misses a new one.
    let When { time, boot_ns, seq } = when;
    let What { action, object, access, decision, reason, rule, errno, process, detail } = what;
    text(line, "{\"time\":", time)?;
    number(line, name!("boot_ns"), *boot_ns);
    if let Some(seq) = seq {
        number(line, name!("seq"), *seq);
    }
    line.extend_from_slice(&whose.0);
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
        add_process(line, process)?;
    }
    add_detail(line, detail)?;
    line.extend_from_slice(b"}\n");
    Ok(())
}

fn add_process(line: &mut Vec<u8>, process: &Process<'_>) -> Result<()> {
    let Process { pid, tid, ppid, exe, comm, uid, gid, cgroup } = process;
    number(line, ",\"process\":{\"pid\":", *pid);
    number(line, name!("tid"), *tid);
    number(line, name!("ppid"), *ppid);
    if let Some(exe) = exe {
        text(line, name!("exe"), exe)?;
    }
    text(line, name!("comm"), comm)?;
    number(line, name!("uid"), *uid);
    number(line, name!("gid"), *gid);
    number(line, name!("cgroup"), *cgroup);
    line.push(b'}');
    Ok(())
}

fn add_detail(line: &mut Vec<u8>, detail: &Detail<'_>) -> Result<()> {
    let mut before = ",\"detail\":{";
    for (name, value) in &detail.0 {
        text(line, before, name)?;
        match value.as_u64() {
            Some(value) => number(line, ":", value),
            None => other(line, ":", value)?,
        }
        before = ",";
    }
    if !detail.is_empty() {
        line.push(b'}');
    }
    Ok(())
}
