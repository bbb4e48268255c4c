//! From a raw event and the registry to a record: names instead of numbers, and the rule that decided.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use agentguard_common::event::{Action, EventHeader};
use agentguard_common::file::Access;
use agentguard_common::net::{Address, NetFacts, NetOp};
use agentguard_common::policy::privilege;
use agentguard_common::verdict::{Decision, Reason};
use rustc_hash::FxHashMap;
use serde_json::json;

use super::record::{Process, Rule, What, printable};
use super::ring::Raw;
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
fn requested_path<'a>(raw: &Raw<'a>) -> Cow<'a, [u8]> {
    if raw.header.reason != Reason::Landlock as u8 {
        return raw.path.into();
    }
    let mut parts = raw.path.splitn(2, |byte| *byte == 0);
    let (directory, asked) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let asked = Path::new(OsStr::from_bytes(asked));
    if !asked.is_absolute() && !directory.starts_with(b"/") {
        return asked.as_os_str().as_bytes().into();
    }
    plain(&Path::new(OsStr::from_bytes(directory)).join(asked)).into_os_string().into_vec().into()
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
    let header = raw.header;
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
fn privilege_name(header: &EventHeader) -> Cow<'static, str> {
    let named = privilege::NAMED.iter().find(|(_, bit)| *bit == header.detail);
    let name = named.map_or("unknown", |(name, _)| *name);
    if header.detail != privilege::CAPABILITIES {
        return name.into();
    }
    let capability = caps::all().into_iter().find(|c| u32::from(c.index()) == header.other_pid);
    capability.map_or_else(|| format!("{name} {}", header.other_pid), |c| format!("{name} {c}")).into()
}

/// The name of an error that the kernel plane returns, none if it returned none.
fn errno_name(errno: u16) -> Option<Cow<'static, str>> {
    Some(match errno {
        0 => return None,
        1 => "EPERM".into(),
        13 => "EACCES".into(),
        18 => "EXDEV".into(),
        n => n.to_string().into(),
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

/// Executables by process, for events that only name the process.
#[derive(Default)]
pub struct Exes(FxHashMap<u32, Arc<str>>);

impl Exes {
    /// Notes what an event says of them.
    fn note(&mut self, raw: &Raw<'_>, action: Option<Action>) {
        let header = raw.header;
        match action {
            Some(Action::Executed) => drop(self.0.insert(header.pid, printable(raw.path).into())),
            Some(Action::Fork) if header.pid != header.other_pid => {
                if let Some(exe) = self.0.get(&header.pid).cloned() {
                    self.0.insert(header.other_pid, exe);
                }
            }
            _ => {}
        }
    }

    /// Forgets the process that ended with this event.
    pub fn forget(&mut self, raw: &Raw<'_>) {
        let header = raw.header;
        if header.action == Action::Exit as u16 && header.pid == header.tid {
            self.0.remove(&header.pid);
        }
    }

    fn of(&self, header: &EventHeader) -> Option<Cow<'_, str>> {
        self.0.get(&header.pid).map(|exe| Cow::Borrowed(&**exe))
    }
}

fn process<'a>(raw: &'a Raw<'_>, exe: Option<Cow<'a, str>>) -> Process<'a> {
    let header = raw.header;
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

/// What an event says, by the rules of `chain`, which decided. Keeps `exes` up to date, but for [`Exes::forget`].
pub fn enrich<'a>(raw: &'a Raw<'_>, chain: &Chain, exes: &'a mut Exes) -> What<'a> {
    let header = raw.header;
    let action = Action::from_raw(header.action);
    exes.note(raw, action);
    let path = requested_path(raw);
    let mut what = What {
        action: action.map_or("unknown", Action::name).into(),
        decision: Decision::from_raw(header.decision).map_or("unknown", Decision::name).into(),
        ..What::default()
    };
    let reason = Reason::from_raw(header.reason);
    // What merely happened was not decided.
    if !matches!(action, Some(Action::Executed | Action::Fork | Action::Exit | Action::Adopt)) {
        what.reason = reason.map_or("unknown", Reason::name).into();
    }
    let access = Access(header.access);
    if access != Access::NONE {
        let named = Access::NAMED.iter().filter(|(_, a)| access.contains(*a));
        what.access = named.map(|(name, _)| (*name).into()).collect();
    }
    what.errno = errno_name(header.errno);
    if matches!(reason, Some(Reason::Rule | Reason::NoRule | Reason::Landlock)) {
        what.rule = action.and_then(|a| deciding_rule(chain, raw, &path, a));
        // The kernel's file tables hold verdicts, not rules, so only here it shows that no rule allowed it.
        let by_default = what.rule.as_ref().is_some_and(|rule| rule.document.is_none());
        if by_default && reason == Some(Reason::Rule) {
            what.reason = Reason::NoRule.name().into();
        }
        // An EACCES at level `compat` need not be Landlock's: the file's own permissions say it too.
        if reason == Some(Reason::Landlock) && what.rule.as_ref().is_some_and(|rule| rule.allows) {
            what.rule = None;
            what.reason = "permissions".into();
        }
    }
    let pathless = path.is_empty();
    what.object = match (address(header), path) {
        (Some((ip @ IpAddr::V4(_), _)), _) => format!("{ip}:{}", header.port).into(),
        (Some((ip @ IpAddr::V6(_), _)), _) => format!("[{ip}]:{}", header.port).into(),
        (None, Cow::Borrowed(path)) => printable(path),
        (None, Cow::Owned(path)) => printable(&path).into_owned().into(),
    };
    match action {
        Some(Action::Privilege) => what.object = privilege_name(header),
        Some(Action::MapExec) if pathless => what.object = privilege_name(header),
        Some(Action::Socket) => {
            let kind = header.socket_type & 0xf; // without SOCK_CLOEXEC and SOCK_NONBLOCK
            what.object = format!("family {} type {kind}", header.family).into();
        }
        Some(Action::Signal | Action::Ptrace) => {
            what.object = format!("process {}", header.other_pid).into();
            let detail = if action == Some(Action::Signal) { "signal" } else { "mode" };
            what.detail.insert(detail, json!(header.detail));
        }
        Some(Action::Use) if header.detail > 0 => {
            if what.object.is_empty() {
                what.object = kind_of(header).into();
            }
            what.detail.insert("times", json!(header.detail));
        }
        Some(Action::Fork) => {
            what.detail.insert("child_pid", json!(header.other_pid));
            what.detail.insert("child_tid", json!(header.other_tid));
        }
        Some(Action::Adopt) => {
            what.detail.insert("pid", json!(header.other_pid));
            what.detail.insert("tid", json!(header.other_tid));
        }
        Some(Action::Exit) => {
            what.detail.insert("code", json!(header.detail >> 8 & 0xff));
            what.detail.insert("signal", json!(header.detail & 0x7f));
        }
        _ => {}
    }
    what.process = Some(process(raw, exes.of(header)));
    what
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
