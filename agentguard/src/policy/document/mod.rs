//! The YAML document, its includes and its variables.

use std::collections::BTreeMap;
use std::time::Duration;

use agentguard_common::file::Access;
use agentguard_common::net::NetOp;
use agentguard_common::policy::privilege;
use ipnet::IpNet;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use sha2::{Digest as _, Sha256};

use super::error::PolicyError;
use super::model::{Effect, Environment, FileRule, Mode, NetRule, Policy, RuleSource};
use super::{glob, shipped};

const API_VERSION: &str = "agentguard.dev/v1alpha1";

/// Values of `${home}`, `${workspace}`, `${user}`, `${uid}` and `${tmp}`.
#[derive(Clone, Debug)]
pub struct Variables {
    pub home: String,
    pub workspace: String,
    pub user: String,
    pub uid: u32,
    pub tmp: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    api_version: Spanned<String>,
    kind: Spanned<String>,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: Spanned<String>,
    #[serde(default, rename = "description")]
    _description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    mode: Mode,
    ttl: Option<Spanned<String>>,
    #[serde(default)]
    include: Vec<Spanned<String>>,
    #[serde(default)]
    log_allowed: bool,
    #[serde(default)]
    files: Vec<Spanned<Files>>,
    #[serde(default)]
    network: Vec<Spanned<Network>>,
    #[serde(default)]
    environment: EnvironmentDoc,
    #[serde(default)]
    privileges: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvironmentDoc {
    #[serde(default)]
    pass: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl Names {
    fn list(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    allow: Option<Names>,
    ask: Option<Names>,
    deny: Option<Names>,
    paths: Vec<Spanned<String>>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Range(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    allow: Option<Names>,
    ask: Option<Names>,
    deny: Option<Names>,
    to: Vec<Spanned<String>>,
    #[serde(default)]
    ports: Vec<Spanned<Port>>,
    #[serde(default)]
    protocol: Vec<Spanned<String>>,
    reason: Option<String>,
}

/// Turns one document's parts into rules; knows the file for messages.
struct Reader<'a> {
    file: &'a str,
    document: String,
    variables: &'a Variables,
}

impl Reader<'_> {
    fn error(&self, at: Location, message: impl Into<String>, hint: Option<String>) -> PolicyError {
        PolicyError {
            file: self.file.to_owned(),
            line: at.line(),
            column: at.column(),
            message: message.into(),
            hint,
        }
    }

    fn source(&self, at: Location, reason: Option<&String>) -> RuleSource {
        RuleSource { document: self.document.clone(), line: at.line() as u32, reason: reason.cloned() }
    }

    fn effect<'n>(
        &self,
        at: Location,
        choices: [(&'n Option<Names>, Effect); 3],
    ) -> Result<(Effect, &'n Names), PolicyError> {
        let mut given = choices.into_iter().filter_map(|(names, effect)| Some((effect, names.as_ref()?)));
        match (given.next(), given.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(self.error(at, "a rule has exactly one of `allow`, `ask`, `deny`", None)),
        }
    }

    fn expand(&self, text: &Spanned<String>) -> Result<String, PolicyError> {
        let mut out = String::new();
        let mut rest = text.value.as_str();
        while let Some(start) = rest.find("${") {
            out.push_str(&rest[..start]);
            let end = rest[start..]
                .find('}')
                .ok_or_else(|| self.error(text.referenced, "`${` without `}`", None))?;
            let v = self.variables;
            let uid = v.uid.to_string();
            let value = match &rest[start + 2..start + end] {
                "home" => &v.home,
                "workspace" => &v.workspace,
                "user" => &v.user,
                "uid" => &uid,
                "tmp" => &v.tmp,
                name => {
                    let hint = "variables are home, workspace, user, uid and tmp".to_owned();
                    return Err(self.error(
                        text.referenced,
                        format!("unknown variable `${{{name}}}`"),
                        Some(hint),
                    ));
                }
            };
            out.push_str(&glob::escape(value));
            rest = &rest[start + end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn access(&self, at: Location, names: &Names) -> Result<Access, PolicyError> {
        let mut access = Access::NONE;
        for name in names.list() {
            if name == "all" {
                return Ok(Access::ALL);
            }
            let Some((_, mode)) = Access::NAMED.iter().find(|(n, _)| n == name) else {
                let known: Vec<_> = Access::NAMED.iter().map(|(n, _)| *n).collect();
                let hint = format!("modes are {} and all", known.join(", "));
                return Err(self.error(at, format!("unknown access mode `{name}`"), Some(hint)));
            };
            access = access.union(*mode);
        }
        Ok(access)
    }

    fn files(&self, rule: &Spanned<Files>, out: &mut Vec<FileRule>) -> Result<(), PolicyError> {
        let at = rule.referenced;
        let r = &rule.value;
        let choices = [(&r.allow, Effect::Allow), (&r.ask, Effect::Ask), (&r.deny, Effect::Deny)];
        let (effect, names) = self.effect(at, choices)?;
        let access = self.access(at, names)?;
        for path in &r.paths {
            let expanded = self.expand(path)?;
            glob::parse(&expanded)
                .map_err(|e| self.error(path.referenced, format!("glob `{}`: {e}", path.value), None))?;
            let source = self.source(path.referenced, r.reason.as_ref());
            out.push(FileRule { effect, glob: expanded, access, source });
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
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
            let net = net.map_err(|_| {
                let hint = "an address, a CIDR such as 10.0.0.0/8, `loopback` or `any`".to_owned();
                self.error(to.referenced, format!("`{text}` is no address"), Some(hint))
            })?;
            if net.trunc() != net {
                let hint = format!("write {}", net.trunc());
                return Err(self.error(to.referenced, format!("`{text}` has host bits set"), Some(hint)));
            }
            Ok(net)
        };
        fixed.iter().map(|t| parse(t)).collect()
    }

    fn port(&self, port: &Spanned<Port>) -> Result<(u16, u16), PolicyError> {
        let range = match &port.value {
            Port::Number(n) => Some((*n, *n)),
            Port::Range(text) => match text.split_once('-') {
                Some((l, h)) => l.trim().parse().ok().zip(h.trim().parse().ok()),
                None => text.parse().ok().map(|n| (n, n)),
            },
        };
        range.filter(|(l, h)| l <= h).ok_or_else(|| {
            self.error(port.referenced, "bad port or range", Some("443 or \"8000-8999\"".into()))
        })
    }

    fn network(&self, rule: &Spanned<Network>, out: &mut Vec<NetRule>) -> Result<(), PolicyError> {
        let at = rule.referenced;
        let r = &rule.value;
        let choices = [(&r.allow, Effect::Allow), (&r.ask, Effect::Ask), (&r.deny, Effect::Deny)];
        let (effect, names) = self.effect(at, choices)?;
        let mut ops = Vec::new();
        for name in names.list() {
            match name.as_str() {
                "connect" => ops.push(NetOp::Connect),
                "bind" => ops.push(NetOp::Bind),
                "all" => ops.extend([NetOp::Connect, NetOp::Bind]),
                _ => {
                    let hint = Some("operations are connect, bind and all".into());
                    return Err(self.error(at, format!("unknown network operation `{name}`"), hint));
                }
            }
        }
        let mut to = Vec::new();
        for destination in &r.to {
            to.extend(self.destinations(destination)?);
        }
        let ports = r.ports.iter().map(|p| self.port(p)).collect::<Result<_, _>>()?;
        let mut protocols = Vec::new();
        for p in &r.protocol {
            protocols.push(match p.value.as_str() {
                "tcp" => 6,
                "udp" => 17,
                "sctp" => 132,
                "icmp" => 1,
                "icmpv6" => 58,
                other => {
                    let hint = Some("protocols are tcp, udp, sctp, icmp and icmpv6".into());
                    return Err(self.error(p.referenced, format!("unknown protocol `{other}`"), hint));
                }
            });
        }
        out.push(NetRule { effect, ops, to, ports, protocols, source: self.source(at, r.reason.as_ref()) });
        Ok(())
    }

    fn ttl(&self, ttl: &Spanned<String>) -> Result<Duration, PolicyError> {
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
            self.error(ttl.referenced, format!("bad duration `{text}`"), Some("90s, 15m, 8h or 2d".into()))
        })
    }

    fn privileges(&self, names: &[Spanned<String>]) -> Result<u32, PolicyError> {
        let mut bits = 0;
        for name in names {
            let Some((_, bit)) = privilege::NAMED.iter().find(|(n, _)| *n == name.value) else {
                let known: Vec<_> = privilege::NAMED.iter().map(|(n, _)| *n).collect();
                let hint = Some(format!("privileges are {}", known.join(", ")));
                return Err(self.error(name.referenced, format!("unknown privilege `{}`", name.value), hint));
            };
            bits |= bit;
        }
        Ok(bits)
    }
}

fn parse(file: &str, yaml: &str) -> Result<Document, PolicyError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let document: Document = serde_saphyr::from_str_with_options(yaml, options).map_err(|e| {
        let at = e.location();
        PolicyError {
            file: file.to_owned(),
            line: at.map_or(0, |l| l.line()),
            column: at.map_or(0, |l| l.column()),
            message: e.without_snippet().to_string(),
            hint: None,
        }
    })?;
    let wrong = |field: &Spanned<String>, want: &str| PolicyError {
        file: file.to_owned(),
        line: field.referenced.line(),
        column: field.referenced.column(),
        message: format!("`{}` is not supported here", field.value),
        hint: Some(format!("write {want}")),
    };
    if document.api_version.value != API_VERSION {
        return Err(wrong(&document.api_version, API_VERSION));
    }
    if document.kind.value != "AgentPolicy" {
        return Err(wrong(&document.kind, "AgentPolicy"));
    }
    Ok(document)
}

/// Reads a document with its includes. Nothing of a refused document is used.
///
/// # Errors
/// The first mistake, with its line, column and a hint.
pub fn load(file: &str, yaml: &str, variables: &Variables) -> Result<Policy, PolicyError> {
    let main = parse(file, yaml)?;
    let mut digest = Sha256::new();
    let mut policy = Policy {
        name: main.metadata.name.value.clone(),
        digest: String::new(),
        mode: main.spec.mode,
        ttl: None,
        log_allowed: main.spec.log_allowed,
        files: Vec::new(),
        network: Vec::new(),
        environment: Environment::default(),
        privileges: 0,
    };
    let mut seen = vec![main.metadata.name.value.clone()];
    let mut waiting = vec![(file.to_owned(), main, yaml)];
    while let Some((file, document, text)) = waiting.pop() {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
        let reader = Reader { file: &file, document: document.metadata.name.value.clone(), variables };
        merge(&reader, &document, &mut policy)?;
        for include in &document.spec.include {
            if seen.contains(&include.value) {
                continue;
            }
            let Some(preset) = shipped::preset(&include.value) else {
                let hint = Some(format!("presets are {}", shipped::preset_names()));
                return Err(reader.error(
                    include.referenced,
                    format!("unknown preset `{}`", include.value),
                    hint,
                ));
            };
            seen.push(include.value.clone());
            let name = format!("preset {}", include.value);
            waiting.push((name.clone(), parse(&name, preset)?, preset));
        }
    }
    let hex: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
    policy.digest = format!("sha256:{hex}");
    Ok(policy)
}

fn merge(reader: &Reader<'_>, document: &Document, policy: &mut Policy) -> Result<(), PolicyError> {
    let spec = &document.spec;
    if let Some(ttl) = &spec.ttl {
        let ttl = reader.ttl(ttl)?;
        policy.ttl = Some(policy.ttl.map_or(ttl, |t| t.min(ttl)));
    }
    for rule in &spec.files {
        reader.files(rule, &mut policy.files)?;
    }
    for rule in &spec.network {
        reader.network(rule, &mut policy.network)?;
    }
    policy.privileges |= reader.privileges(&spec.privileges)?;
    policy.environment.pass.extend(spec.environment.pass.iter().cloned());
    policy.environment.deny.extend(spec.environment.deny.iter().cloned());
    policy.environment.set.extend(spec.environment.set.clone());
    Ok(())
}
