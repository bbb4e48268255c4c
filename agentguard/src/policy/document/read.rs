//! One document's parts, checked, as rules.

use std::net::IpAddr;
use std::time::Duration;

use agentguard_common::file::Access;
use agentguard_common::net::NetOp;
use agentguard_common::policy::privilege;
use ipnet::IpNet;
use serde_saphyr::{Location, Spanned};

use super::Variables;
use super::mistake::nearest;
use super::schema::{Document, Files, Names, Network, Port};
use crate::policy::error::PolicyError;
use crate::policy::glob;
use crate::policy::model::{Effect, FileRule, NetRule, RuleSource};

const PROTOCOLS: [(&str, u8); 5] = [("tcp", 6), ("udp", 17), ("sctp", 132), ("icmp", 1), ("icmpv6", 58)];
const OPERATIONS: [(&str, &[NetOp]); 3] =
    [("connect", &[NetOp::Connect]), ("bind", &[NetOp::Bind]), ("all", &[NetOp::Connect, NetOp::Bind])];

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

    fn error(&self, at: Location, message: impl Into<String>, hint: impl Into<String>) -> PolicyError {
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

    fn source(&self, at: Location, reason: Option<&String>) -> RuleSource {
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
        let v = self.variables;
        let uid = v.uid.to_string();
        let values: [(&str, &str); 5] = [
            ("home", &v.home),
            ("workspace", &v.workspace),
            ("user", &v.user),
            ("uid", &uid),
            ("tmp", &v.tmp),
        ];
        let mut out = String::new();
        let mut rest = text.value.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                return Err(self.error(
                    text.referenced,
                    "`${` without `}`",
                    "write ${home}, ${workspace}, ..",
                ));
            };
            out.push_str(before);
            out.push_str(&glob::escape(self.known(text.referenced, name, "variable", &values)?));
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn access(&self, names: &[(Location, &str)]) -> Result<Access, PolicyError> {
        let table: Vec<_> = Access::NAMED.into_iter().chain([("all", Access::ALL)]).collect();
        names.iter().try_fold(Access::NONE, |access, (at, name)| {
            Ok(access.union(self.known(*at, name, "access mode", &table)?))
        })
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
            let glob = self.expand(path)?;
            let parsed = glob::parse(&glob).map_err(|why| {
                let message = format!("glob `{}`: {why}", path.value);
                let hint = "such as /etc/hosts, ${workspace}/**, **/.env or /usr/bin/{ls,cat}";
                self.error(path.referenced, message, hint)
            })?;
            let of_sockets = Access::CONNECT.union(Access::CREATE);
            if parsed.iter().any(|g| g.is_abstract()) && access != Access::ALL && !of_sockets.contains(access)
            {
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

    fn port(&self, port: &Spanned<Port>) -> Result<(u16, u16), PolicyError> {
        let range = match &port.value {
            Port::Number(n) => u16::try_from(*n).ok().map(|n| (n, n)),
            Port::Text(text) => match text.split_once('-') {
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

    pub(super) fn ttl(&self, ttl: &Spanned<String>) -> Result<Duration, PolicyError> {
        let text = ttl.value.as_str();
        let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
        let factor = match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            "d" => Some(86_400),
            _ => None,
        };
        let seconds = number.parse::<u64>().ok().zip(factor).and_then(|(n, f)| n.checked_mul(f));
        seconds.filter(|s| *s > 0).map(Duration::from_secs).ok_or_else(|| {
            self.error(ttl.referenced, format!("bad duration `{text}`"), "such as 90s, 15m, 8h or 2d")
        })
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
