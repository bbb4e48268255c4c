//! From a raw event and the registry to a record: names instead of numbers, and the rule that decided.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use agentguard_common::event::{Action, EventHeader};
use agentguard_common::file::Access;
use agentguard_common::net::{Address, NetFacts, NetOp};
use agentguard_common::policy::privilege;
use agentguard_common::verdict::{Decision, Reason};
use serde_json::json;

use super::record::{Process, Record, Rule, printable};
use super::ring::Raw;
use crate::clock::Now;
use crate::daemon::registry::Invocation;
use crate::policy::Chain;
use crate::policy::model::{ChainExplanation, Effect};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

fn address(header: &EventHeader) -> Option<(IpAddr, Address)> {
    let [a, b, c, d] = header.address;
    match header.family {
        AF_INET => Some((Ipv4Addr::from(d).into(), Address::V4(d))),
        AF_INET6 => {
            let bits = u128::from(a) << 96 | u128::from(b) << 64 | u128::from(c) << 32 | u128::from(d);
            Some((Ipv6Addr::from(bits).into(), Address::V6(header.address)))
        }
        _ => None,
    }
}

fn rule(chain: &Chain, found: &ChainExplanation<'_>) -> Rule {
    let inherited = found.policy + 1 < chain.0.len();
    let explanation = &found.explanation;
    Rule {
        text: explanation.text.clone(),
        policy: chain.0.get(found.policy).filter(|_| inherited).map(|e| e.policy().name.clone()),
        document: explanation.rule.map(|r| r.document.clone()),
        line: explanation.rule.map(|r| r.line),
        reason: explanation.rule.and_then(|r| r.reason.clone()),
        allows: explanation.effect == Effect::Allow,
    }
}

/// The path of an event. Of a call that Landlock refused the kernel saw the string that the task passed and the
/// directory it starts from: they are joined, without `.` and `..`, because rules speak of such paths.
fn requested_path(raw: &Raw<'_>) -> Vec<u8> {
    if raw.header.reason != Reason::Landlock as u8 {
        return raw.path.to_vec();
    }
    let mut parts = raw.path.splitn(2, |byte| *byte == 0);
    let (directory, asked) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let asked = Path::new(OsStr::from_bytes(asked));
    if !asked.is_absolute() && !directory.starts_with(b"/") {
        return asked.as_os_str().as_bytes().to_vec();
    }
    plain(&Path::new(OsStr::from_bytes(directory)).join(asked)).into_os_string().into_vec()
}

/// A path without `.` and `..`, by its text alone.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    out
}

fn deciding_rule(chain: &Chain, raw: &Raw<'_>, path: &[u8], action: Action) -> Option<Rule> {
    let header = &raw.header;
    let access = Access(header.access);
    match action {
        Action::Open | Action::Exec | Action::Path | Action::Use | Action::MapExec | Action::Unix
            if !path.is_empty() =>
        {
            Some(rule(chain, &chain.explain_file(path, access)))
        }
        Action::Connect | Action::Bind => {
            let (_, address) = address(header)?;
            let op = if action == Action::Bind { NetOp::Bind } else { NetOp::Connect };
            let facts = NetFacts { op, protocol: header.protocol as u8, port: header.port, address };
            Some(rule(chain, &chain.explain_net(&facts)))
        }
        _ => None,
    }
}

/// The privilege that was missing, and for capabilities which one.
fn privilege_name(header: &EventHeader) -> String {
    let named = privilege::NAMED.iter().find(|(_, bit)| *bit == header.detail);
    let name = named.map_or("unknown", |(name, _)| *name);
    if header.detail != privilege::CAPABILITIES {
        return name.into();
    }
    let capability = caps::all().into_iter().find(|c| u32::from(c.index()) == header.other_pid);
    capability.map_or_else(|| format!("{name} {}", header.other_pid), |c| format!("{name} {c}"))
}

/// The name of an error that the kernel plane returns, none if it returned none.
fn errno_name(errno: u16) -> Option<String> {
    Some(match errno {
        0 => return None,
        1 => "EPERM".into(),
        13 => "EACCES".into(),
        18 => "EXDEV".into(),
        n => n.to_string(),
    })
}

/// What an open object without a path is.
fn kind_of(header: &EventHeader) -> &'static str {
    match (u32::from(header.socket_type), i32::from(header.family)) {
        (libc::S_IFIFO, _) => "pipe",
        (libc::S_IFSOCK, libc::AF_UNIX) => "unix socket",
        (libc::S_IFSOCK, _) => "socket",
        _ => "nameless file",
    }
}

fn process(header: &EventHeader, exe: Option<String>) -> Process {
    let comm = header.comm.split(|&b| b == 0).next().unwrap_or_default();
    Process {
        pid: header.pid,
        tid: header.tid,
        ppid: header.parent_pid,
        exe,
        comm: printable(comm),
        uid: header.uid,
        gid: header.gid,
        cgroup: header.cgroup,
    }
}

/// Makes the record, by the rules of `chain`, which decided, and keeps `exes` (executable by pid) up to date.
pub fn enrich(
    raw: &Raw<'_>,
    invocation: &Invocation,
    chain: &Chain,
    exes: &mut HashMap<u32, String>,
    now: Now,
) -> Record {
    let header = &raw.header;
    let action = Action::from_raw(header.action);
    let path = requested_path(raw);
    let mut record = invocation.record();
    if let Some(own) = chain.0.last() {
        record.policy_digest.clone_from(&own.policy().digest); // of the version that decided
    }
    record.time = now.utc(header.time_ns);
    record.boot_ns = header.time_ns;
    record.seq = Some(header.seq);
    record.action = action.map_or("unknown", Action::name).to_owned();
    record.decision = Decision::from_raw(header.decision).map_or("unknown", Decision::name).to_owned();
    let reason = Reason::from_raw(header.reason);
    // What merely happened was not decided.
    if !matches!(action, Some(Action::Executed | Action::Fork | Action::Exit | Action::Adopt)) {
        record.reason = reason.map_or("unknown", Reason::name).to_owned();
    }
    record.object = match address(header) {
        Some((ip @ IpAddr::V4(_), _)) => format!("{ip}:{}", header.port),
        Some((ip @ IpAddr::V6(_), _)) => format!("[{ip}]:{}", header.port),
        None => printable(&path),
    };
    let access = Access(header.access);
    record.access =
        Access::NAMED.iter().filter(|(_, a)| access.contains(*a)).map(|(n, _)| (*n).to_owned()).collect();
    record.errno = errno_name(header.errno);
    if matches!(reason, Some(Reason::Rule | Reason::NoRule | Reason::Landlock)) {
        record.rule = action.and_then(|a| deciding_rule(chain, raw, &path, a));
        // The kernel's file tables hold verdicts, not rules, so only here it shows that no rule allowed it.
        let by_default = record.rule.as_ref().is_some_and(|rule| rule.document.is_none());
        if by_default && reason == Some(Reason::Rule) {
            Reason::NoRule.name().clone_into(&mut record.reason);
        }
        // An EACCES at level `compat` need not be Landlock's: the file's own permissions say it too.
        if reason == Some(Reason::Landlock) && record.rule.as_ref().is_some_and(|rule| rule.allows) {
            record.rule = None;
            "permissions".clone_into(&mut record.reason);
        }
    }
    match action {
        Some(Action::Privilege) => record.object = privilege_name(header),
        Some(Action::MapExec) if path.is_empty() => record.object = privilege_name(header),
        Some(Action::Socket) => {
            let kind = header.socket_type & 0xf; // without SOCK_CLOEXEC and SOCK_NONBLOCK
            record.object = format!("family {} type {kind}", header.family);
        }
        Some(Action::Signal | Action::Ptrace) => {
            record.object = format!("process {}", header.other_pid);
            let detail = if action == Some(Action::Signal) { "signal" } else { "mode" };
            record.detail.insert(detail.into(), json!(header.detail));
        }
        Some(Action::Use) if header.detail > 0 => {
            if record.object.is_empty() {
                kind_of(header).clone_into(&mut record.object);
            }
            record.detail.insert("times".into(), json!(header.detail));
        }
        Some(Action::Executed) => {
            exes.insert(header.pid, record.object.clone());
        }
        Some(Action::Fork) => {
            if let Some(exe) = exes.get(&header.pid).cloned() {
                exes.insert(header.other_pid, exe);
            }
            record.detail.insert("child_pid".into(), json!(header.other_pid));
            record.detail.insert("child_tid".into(), json!(header.other_tid));
        }
        Some(Action::Adopt) => {
            record.detail.insert("pid".into(), json!(header.other_pid));
            record.detail.insert("tid".into(), json!(header.other_tid));
        }
        Some(Action::Exit) => {
            record.detail.insert("code".into(), json!(header.detail >> 8 & 0xff));
            record.detail.insert("signal".into(), json!(header.detail & 0x7f));
        }
        _ => {}
    }
    record.process = Some(process(header, exes.get(&header.pid).cloned()));
    if action == Some(Action::Exit) && header.pid == header.tid {
        exes.remove(&header.pid);
    }
    record
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::plain;

    #[test]
    fn dots_go_and_the_root_stays() {
        for (asked, want) in [("/a/./b/../c", "/a/c"), ("/../x", "/x"), ("/a//b/", "/a/b"), ("/", "/")] {
            assert_eq!(plain(Path::new(asked)), Path::new(want));
        }
    }
}
