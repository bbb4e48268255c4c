//! One document's parts, checked, as rules.

use std::net::IpAddr;
use std::time::Duration;

use agentguard_common::file::Access;
use agentguard_common::net::NetOp;
use agentguard_common::policy::privilege;
use ipnet::IpNet;
use serde_saphyr::{Location, Spanned};

use super::Variables;
use super::nearest;
use super::schema::{Document, Files, Names, Network, Number, Spec, Subjects};
use crate::policy::error::PolicyError;
use crate::policy::glob;
use crate::policy::model::{Effect, FileRule, NetRule, RuleSource};
use crate::policy::subjects::{self, Subject};

pub(in crate::policy) const PROTOCOLS: [(&str, u8); 5] =
    [("tcp", 6), ("udp", 17), ("sctp", 132), ("icmp", 1), ("icmpv6", 58)];
pub(super) const OPERATIONS: [(&str, &[NetOp]); 3] =
    [("connect", &[NetOp::Connect]), ("bind", &[NetOp::Bind]), ("all", &[NetOp::Connect, NetOp::Bind])];

/// Seconds that the kernel's clock can count, in nanoseconds: 584 years.
const MAX_SECONDS: u64 = u64::MAX / 1_000_000_000;

/// Names with their places in the document.
type Placed<'n> = Vec<(Location, &'n str)>;

/// Turns one document's parts into rules; knows the file for messages.
pub(super) struct Reader<'a> {
    file: &'a str,
    document: &'a str,
    variables: &'a Variables,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, document: &'a Document, variables: &'a Variables) -> Self {
        Self { file, document: &document.metadata.name.value, variables }
    }

    pub(super) fn error(
        &self,
        at: Location,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> PolicyError {
        PolicyError {
            file: self.file.to_owned(),
            line: at.line(),
            column: at.column(),
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Looks `name` up in a table of what policies may say; `what` it is goes into the message.
    fn known<T: Copy>(
        &self,
        at: Location,
        name: &str,
        what: &str,
        table: &[(&str, T)],
    ) -> Result<T, PolicyError> {
        table.iter().find(|(n, _)| *n == name).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<_> = table.iter().map(|(n, _)| *n).collect();
            self.error(at, format!("unknown {what} `{name}`"), nearest(name, &names))
        })
    }

    pub(super) fn source(&self, at: Location, reason: Option<&String>) -> RuleSource {
        let line = u32::try_from(at.line()).unwrap_or(u32::MAX);
        RuleSource { document: self.document.to_owned(), line, reason: reason.cloned() }
    }

    /// The effect of a rule and the names that follow it. `choices` are its `allow`, `ask` and `deny`.
    fn effect<'n>(
        &self,
        at: Location,
        choices: [&'n Option<Spanned<Names>>; 3],
    ) -> Result<(Effect, Placed<'n>), PolicyError> {
        let hint = "write exactly one of `allow`, `ask` and `deny`; split the rule if it needs two";
        let effects = [Effect::Allow, Effect::Ask, Effect::Deny].into_iter();
        let mut given = effects.zip(choices).filter_map(|(effect, names)| Some((effect, names.as_ref()?)));
        let Some((effect, names)) = given.next() else {
            return Err(self.error(at, "a rule without an effect", hint));
        };
        if let Some((_, second)) = given.next() {
            return Err(self.error(second.referenced, "a rule with two effects", hint));
        }
        let list = names.value.list(names.referenced);
        if list.is_empty() {
            return Err(self.error(
                names.referenced,
                "a rule about nothing",
                "name at least one access, or `all`",
            ));
        }
        Ok((effect, list))
    }

    /// The text with the values of its variables, escaped so that they match only themselves.
    fn expand(&self, text: &Spanned<String>) -> Result<String, PolicyError> {
        let expanded = self.variables.expand(&text.value, glob::escape);
        expanded.map_err(|(message, hint)| self.error(text.referenced, message, hint))
    }

    fn access(&self, names: &[(Location, &str)]) -> Result<Access, PolicyError> {
        let table: Vec<_> = Access::NAMED.into_iter().chain([("all", Access::ALL)]).collect();
        names.iter().try_fold(Access::NONE, |access, (at, name)| {
            Ok(access.union(self.known(*at, name, "access mode", &table)?))
        })
    }

    /// A glob with its variables expanded, and whether it speaks of abstract sockets.
    pub(super) fn glob(&self, path: &Spanned<String>) -> Result<(String, bool), PolicyError> {
        let glob = self.expand(path)?;
        let parsed = glob::parse(&glob).map_err(|why| {
            let message = format!("glob `{}`: {why}", path.value);
            let hint = "such as /etc/hosts, ${workspace}/**, **/.env or /usr/bin/{ls,cat}";
            self.error(path.referenced, message, hint)
        })?;
        Ok((glob, parsed.iter().any(glob::Glob::is_abstract)))
    }

    /// Adds one rule for each path.
    pub(super) fn files(&self, rule: &Spanned<Files>, out: &mut Vec<FileRule>) -> Result<(), PolicyError> {
        let r = &rule.value;
        let (effect, names) = self.effect(rule.referenced, [&r.allow, &r.ask, &r.deny])?;
        let access = self.access(&names)?;
        if r.paths.value.is_empty() {
            return Err(self.error(r.paths.referenced, "a rule without paths", "write at least one path"));
        }
        for path in &r.paths.value {
            let (glob, is_abstract) = self.glob(path)?;
            let of_sockets = Access::CONNECT.union(Access::CREATE);
            if is_abstract && access != Access::ALL && !of_sockets.contains(access) {
                let message = format!("`{}` is an abstract socket, which has no such access", path.value);
                let hint =
                    "abstract sockets are created (bound) and connected to: `create`, `connect`, or `all`";
                return Err(self.error(path.referenced, message, hint));
            }
            let source = self.source(path.referenced, r.reason.as_ref());
            out.push(FileRule { effect, glob, access, source });
        }
        Ok(())
    }

    fn destinations(&self, to: &Spanned<String>) -> Result<Vec<IpNet>, PolicyError> {
        let fixed: &[&str] = match to.value.as_str() {
            "any" => &["0.0.0.0/0", "::/0"],
            "loopback" => &["127.0.0.0/8", "::1/128"],
            other => &[other],
        };
        let parse = |text: &str| -> Result<IpNet, PolicyError> {
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let net = net.map_err(|_| {
                let hint = "an address, a network such as 10.0.0.0/8, `loopback` or `any`";
                self.error(to.referenced, format!("`{text}` is no address or network"), hint)
            })?;
            if net.trunc() != net {
                let hint = format!("write {}, or {} for the one address", net.trunc(), net.addr());
                return Err(self.error(to.referenced, format!("`{text}` has host bits set"), hint));
            }
            Ok(net)
        };
        fixed.iter().map(|t| parse(t)).collect()
    }

    fn port(&self, port: &Spanned<Number>) -> Result<(u16, u16), PolicyError> {
        let range = match &port.value {
            Number::Number(n) => u16::try_from(*n).ok().map(|n| (n, n)),
            Number::Text(text) => match text.split_once('-') {
                Some((l, h)) => l.trim().parse().ok().zip(h.trim().parse().ok()),
                None => text.parse().ok().map(|n| (n, n)),
            },
        };
        let message = "bad port or range of ports";
        range
            .filter(|(l, h)| l <= h)
            .ok_or_else(|| self.error(port.referenced, message, "such as 443 or \"8000-8999\", 0 to 65535"))
    }

    pub(super) fn network(&self, rule: &Spanned<Network>) -> Result<NetRule, PolicyError> {
        let r = &rule.value;
        let (effect, names) = self.effect(rule.referenced, [&r.allow, &r.ask, &r.deny])?;
        let mut ops = Vec::new();
        for (at, name) in names {
            ops.extend(self.known(at, name, "network operation", &OPERATIONS)?);
        }
        if r.to.value.is_empty() {
            let hint = "write at least one address, or `any`";
            return Err(self.error(r.to.referenced, "a rule without addresses", hint));
        }
        let mut to = Vec::new();
        for destination in &r.to.value {
            to.extend(self.destinations(destination)?);
        }
        let ports = r.ports.iter().map(|p| self.port(p)).collect::<Result<_, _>>()?;
        let protocols = r.protocol.iter().flat_map(|p| p.value.list(p.referenced));
        let protocols = protocols.map(|(at, name)| self.known(at, name, "protocol", &PROTOCOLS));
        let protocols = protocols.collect::<Result<_, _>>()?;
        let source = self.source(rule.referenced, r.reason.as_ref());
        Ok(NetRule { effect, ops, to, ports, protocols, source })
    }

    fn duration(&self, duration: &Spanned<String>) -> Result<Duration, PolicyError> {
        let text = duration.value.as_str();
        let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
        let factor = match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            "d" => Some(86_400),
            _ => None,
        };
        let at = duration.referenced;
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let Some(factor) = factor.filter(|_| digits && number.bytes().any(|b| b != b'0')) else {
            return Err(self.error(at, format!("bad duration `{text}`"), "such as 90s, 15m, 8h or 2d"));
        };
        let seconds = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
        seconds.filter(|s| *s <= MAX_SECONDS).map(Duration::from_secs).ok_or_else(|| {
            let hint = "at most 213503d; a policy without `ttl` sets no end";
            self.error(at, format!("duration `{text}` is longer than the kernel's clock can count"), hint)
        })
    }

    /// `ttl` and `maxTtl` of one document.
    pub(super) fn lifetimes(&self, spec: &Spec) -> Result<Option<(Duration, Duration)>, PolicyError> {
        let ttl = spec.ttl.as_ref().map(|ttl| self.duration(ttl)).transpose()?;
        let Some(most) = &spec.max_ttl else { return Ok(ttl.map(|ttl| (ttl, ttl))) };
        let at = most.referenced;
        let Some(ttl) = ttl else {
            let hint = "write `ttl` too: the life a run starts with, which `maxTtl` lets it be extended to";
            return Err(self.error(at, "`maxTtl` without `ttl`", hint));
        };
        let max = self.duration(most)?;
        if max < ttl {
            let message = format!("`maxTtl` {} is shorter than `ttl`", most.value);
            return Err(self.error(at, message, "a run lives for `ttl`, and `extend` can only add to that"));
        }
        Ok(Some((ttl, max)))
    }

    /// Who may start a run.
    pub(super) fn subjects(&self, written: &Spanned<Subjects>) -> Result<subjects::Subjects, PolicyError> {
        let read = |subject: &Spanned<Number>| {
            let (at, hint) = (subject.referenced, "a name, or a number below 4294967295");
            let wrong = |what: String| self.error(at, what, hint);
            let who = match &subject.value {
                // The last number stands for no user or group (chown(2)).
                Number::Number(id) => {
                    let id = u32::try_from(*id).ok().filter(|id| *id != u32::MAX);
                    subjects::Who::Id(id.ok_or_else(|| wrong("no user or group has such a number".into()))?)
                }
                Number::Text(name) if name.is_empty() || name.contains(['\0', ':', '\n']) => {
                    return Err(wrong(format!("bad name {name:?}")));
                }
                Number::Text(name) => subjects::Who::Name(name.clone()),
            };
            Ok(Subject { who, line: at.line(), column: at.column() })
        };
        let list = |names: &[Spanned<Number>]| names.iter().map(read).collect::<Result<Vec<_>, _>>();
        let (users, groups) = (list(&written.value.users)?, list(&written.value.groups)?);
        if users.is_empty() && groups.is_empty() {
            let hint = "name `users` or `groups`; without `subjects` anybody may start a run";
            return Err(self.error(written.referenced, "`subjects` that are nobody", hint));
        }
        Ok(subjects::Subjects { users, groups })
    }

    /// Refuses a variable that no environment can hold.
    pub(super) fn variable(&self, name: &str, value: &Spanned<String>) -> Result<(), PolicyError> {
        if name.is_empty() || name.contains(['=', '\0']) || value.value.contains('\0') {
            let hint = "a name without `=`, and no NUL in name or value";
            return Err(self.error(value.referenced, format!("bad variable {name:?}"), hint));
        }
        Ok(())
    }

    pub(super) fn privileges(&self, names: &[Spanned<String>]) -> Result<u32, PolicyError> {
        names.iter().try_fold(0, |bits, name| {
            Ok(bits | self.known(name.referenced, &name.value, "privilege", &privilege::NAMED)?)
        })
    }
}
