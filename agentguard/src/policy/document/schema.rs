//! The YAML document as written, with the place of everything a message may have to point at.
//!
//! Also serialised, for the digest: a field added here with a default leaves the digests of old documents as they are.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::{Location, Spanned};

use super::json_schema as json;
use crate::policy::model::Mode;

/// What an agent may do; what no rule names is denied.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(title = "AgentPolicy")]
pub(super) struct Document {
    #[schemars(schema_with = "json::api_version")]
    pub(super) api_version: Spanned<String>,
    #[schemars(schema_with = "json::kind")]
    pub(super) kind: Spanned<String>,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    #[schemars(schema_with = "json::name")]
    pub(super) name: Spanned<String>,
    /// For people.
    description: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec {
    /// `audit`: decide and record, but deny nothing.
    #[serde(default)]
    pub(super) mode: Mode,
    /// Longest life that a run starts with.
    #[serde(default)]
    #[schemars(schema_with = "json::duration")]
    pub(super) ttl: Option<Spanned<String>>,
    /// How far a run's life may ever be extended, counted from its start.
    #[serde(default)]
    #[schemars(schema_with = "json::duration")]
    pub(super) max_ttl: Option<Spanned<String>>,
    /// Who may start a run; without it anybody.
    #[schemars(with = "Option<Subjects>")]
    pub(super) subjects: Option<Spanned<Subjects>>,
    /// Presets whose rules are added.
    #[serde(default)]
    #[schemars(schema_with = "json::presets")]
    pub(super) include: Vec<Spanned<String>>,
    /// Record allowed operations too.
    #[serde(default)]
    pub(super) log_allowed: bool,
    #[serde(default)]
    #[schemars(with = "Vec<Files>")]
    pub(super) files: Vec<Spanned<Files>>,
    #[serde(default)]
    #[schemars(with = "Vec<Network>")]
    pub(super) network: Vec<Spanned<Network>>,
    #[serde(default)]
    pub(super) environment: Environment,
    /// Dangerous abilities to leave.
    #[serde(default)]
    #[schemars(schema_with = "json::privileges")]
    pub(super) privileges: Vec<Spanned<String>>,
    /// Programs that run under rules of their own.
    #[serde(default)]
    #[schemars(with = "Vec<Tool>")]
    pub(super) tools: Vec<Spanned<Tool>>,
}

/// A program that runs under rules of its own.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tool {
    #[schemars(schema_with = "json::name")]
    pub(super) name: Spanned<String>,
    /// Globs of its programs.
    #[schemars(schema_with = "json::texts")]
    pub(super) paths: Spanned<Vec<Spanned<String>>>,
    /// `audit`: decide and record, but deny nothing that the run may do.
    #[serde(default)]
    pub(super) mode: Mode,
    /// Presets whose rules are added.
    #[serde(default)]
    #[schemars(schema_with = "json::presets")]
    pub(super) include: Vec<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Vec<Files>")]
    pub(super) files: Vec<Spanned<Files>>,
    #[serde(default)]
    #[schemars(with = "Vec<Network>")]
    pub(super) network: Vec<Spanned<Network>>,
    /// Dangerous abilities to leave.
    #[serde(default)]
    #[schemars(schema_with = "json::privileges")]
    pub(super) privileges: Vec<Spanned<String>>,
    /// Never accepted; here so that the mistake can be named.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(super) tools: Option<Spanned<IgnoredAny>>,
}

/// Users and groups, by name or number.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subjects {
    #[serde(default)]
    #[schemars(schema_with = "json::ids")]
    pub(super) users: Vec<Spanned<Number>>,
    #[serde(default)]
    #[schemars(schema_with = "json::ids")]
    pub(super) groups: Vec<Spanned<Number>>,
}

/// Which variables the agent gets.
#[derive(Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Environment {
    /// Globs of names that pass.
    #[serde(default)]
    pub(super) pass: Vec<String>,
    /// Globs of names that never pass.
    #[serde(default)]
    pub(super) deny: Vec<String>,
    /// Variables with a fixed value.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub(super) set: BTreeMap<String, Spanned<String>>,
}

/// A rule about paths, with exactly one of allow, ask and deny.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = json::one_effect()))]
pub(super) struct Files {
    #[serde(default)]
    #[schemars(schema_with = "json::accesses")]
    pub(super) allow: Option<Spanned<Names>>,
    #[serde(default)]
    #[schemars(schema_with = "json::accesses")]
    pub(super) ask: Option<Spanned<Names>>,
    #[serde(default)]
    #[schemars(schema_with = "json::accesses")]
    pub(super) deny: Option<Spanned<Names>>,
    /// Absolute globs.
    #[schemars(schema_with = "json::texts")]
    pub(super) paths: Spanned<Vec<Spanned<String>>>,
    /// Repeated by events.
    pub(super) reason: Option<String>,
}

/// A rule about addresses, with exactly one of allow, ask and deny.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = json::one_effect()))]
pub(super) struct Network {
    #[serde(default)]
    #[schemars(schema_with = "json::operations")]
    pub(super) allow: Option<Spanned<Names>>,
    #[serde(default)]
    #[schemars(schema_with = "json::operations")]
    pub(super) ask: Option<Spanned<Names>>,
    #[serde(default)]
    #[schemars(schema_with = "json::operations")]
    pub(super) deny: Option<Spanned<Names>>,
    /// Addresses, networks, `loopback` or `any`.
    #[schemars(schema_with = "json::texts")]
    pub(super) to: Spanned<Vec<Spanned<String>>>,
    /// Numbers, or ranges in quotes.
    #[serde(default)]
    #[schemars(schema_with = "json::ports")]
    pub(super) ports: Vec<Spanned<Number>>,
    #[serde(default)]
    #[schemars(schema_with = "json::protocols")]
    pub(super) protocol: Option<Spanned<Names>>,
    /// Repeated by events.
    pub(super) reason: Option<String>,
}

/// One name, or a list of names. Not an untagged enum: those lose the places of their parts.
#[derive(Debug)]
pub(in crate::policy) enum Names {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl Names {
    /// The names with their places; `at` is the place of the whole.
    pub(in crate::policy) fn list(&self, at: Location) -> Vec<(Location, &str)> {
        match self {
            Self::One(name) => vec![(at, name)],
            Self::Many(names) => names.iter().map(|n| (n.referenced, n.value.as_str())).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Names, E> {
                Ok(Names::One(name.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Names::Many(names))
            }
        }
        deserializer.deserialize_any(NamesVisitor)
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(name) => std::slice::from_ref(name).serialize(serializer),
            Self::Many(names) => names.serialize(serializer),
        }
    }
}

/// A number, or text in its place: a port or a range of ports, an id or a name. Not checked yet.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Number {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number such as 443, or text such as \"8000-8999\" or a name")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number::Number(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                Ok(Number::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}
