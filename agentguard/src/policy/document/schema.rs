//! The YAML document as written, with the place of everything a message may have to point at.
//!
//! Also serialised, for the digest: a field added here with a default leaves the digests of old documents as they are.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::{Location, Spanned};

use crate::policy::model::Mode;

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) api_version: Spanned<String>,
    pub(super) kind: Spanned<String>,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: Spanned<String>,
    /// For people; counts in the digest alone.
    description: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) mode: Mode,
    pub(super) ttl: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) include: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) log_allowed: bool,
    #[serde(default)]
    pub(super) files: Vec<Spanned<Files>>,
    #[serde(default)]
    pub(super) network: Vec<Spanned<Network>>,
    #[serde(default)]
    pub(super) environment: Environment,
    #[serde(default)]
    pub(super) privileges: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Environment {
    #[serde(default)]
    pub(super) pass: Vec<String>,
    #[serde(default)]
    pub(super) deny: Vec<String>,
    #[serde(default)]
    pub(super) set: BTreeMap<String, Spanned<String>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Files {
    pub(super) allow: Option<Spanned<Names>>,
    pub(super) ask: Option<Spanned<Names>>,
    pub(super) deny: Option<Spanned<Names>>,
    pub(super) paths: Spanned<Vec<Spanned<String>>>,
    pub(super) reason: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub(super) allow: Option<Spanned<Names>>,
    pub(super) ask: Option<Spanned<Names>>,
    pub(super) deny: Option<Spanned<Names>>,
    pub(super) to: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) ports: Vec<Spanned<Port>>,
    pub(super) protocol: Option<Spanned<Names>>,
    pub(super) reason: Option<String>,
}

/// One name, or a list of names. Not an untagged enum: those lose the places of their parts.
#[derive(Debug)]
pub(super) enum Names {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl Names {
    /// The names with their places; `at` is the place of the whole.
    pub(super) fn list(&self, at: Location) -> Vec<(Location, &str)> {
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

/// A port or a range of ports, not checked yet.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Port {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;
        impl Visitor<'_> for PortVisitor {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port such as 443 or a range such as \"8000-8999\"")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
                Ok(Port::Number(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
                Ok(Port::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(PortVisitor)
    }
}
