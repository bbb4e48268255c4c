//! The canonical form of a document and its digest.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::schema::Document;
use crate::policy::model::Policy;

/// Drops what is the same as absent: null, and lists and mappings without elements.
fn prune(value: &mut Value) {
    let absent = |v: &Value| match v {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(list) => list.iter_mut().for_each(prune),
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, v| !absent(v));
        }
        _ => {}
    }
}

/// JSON with sorted keys and no spaces: `{"document": .., "includes": {"<preset>": ..}}`, variables not expanded.
fn canonical(main: &Document, includes: &BTreeMap<String, Document>) -> serde_json::Result<String> {
    let mut form = serde_json::json!({ "document": main, "includes": includes });
    prune(&mut form);
    form.sort_all_objects(); // sorted already, unless some crate turns on serde_json/preserve_order
    serde_json::to_string(&form)
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// The digest of a tool's policy: of the digest of the policy that it is part of, and its name there.
pub(super) fn of_tool(policy: &Policy, tool: &str) -> String {
    hex(format!("{}\n{tool}", policy.digest))
}

/// `sha256:` and the hex digest of the canonical form.
pub(super) fn digest(main: &Document, includes: &BTreeMap<String, Document>) -> serde_json::Result<String> {
    Ok(hex(canonical(main, includes)?))
}
