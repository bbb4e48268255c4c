//! The JSON Schema of policy documents, for editors and other tools: made from the types that documents are read into,
//! so that it has no field more or less. What only a reading can tell (globs, addresses, variables) it leaves open.

use agentguard_common::file::Access;
use agentguard_common::policy::privilege;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::read::{OPERATIONS, PROTOCOLS};
use super::schema::Document;
use super::{API_VERSION, KIND, MAX_NAME};
use crate::policy::shipped;

/// The schema as text, with sorted keys.
#[must_use]
pub fn json_schema() -> String {
    let mut schema = schemars::schema_for!(Document).to_value();
    schema.sort_all_objects();
    format!("{schema:#}\n")
}

pub(super) fn api_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": API_VERSION })
}

pub(super) fn kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": KIND })
}

pub(super) fn name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": format!("^[a-z0-9.-]{{1,{MAX_NAME}}}$") })
}

pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "pattern": "^0*[1-9][0-9]*[smhd]$" })
}

pub(super) fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })
}

fn list(names: &[&str]) -> Schema {
    json_schema!({ "type": "array", "items": { "enum": names } })
}

/// A name, or a list of at least one.
fn names(names: &[&str]) -> Schema {
    let names = json!({ "enum": names });
    json_schema!({ "anyOf": [names, { "type": "array", "items": names, "minItems": 1 }, { "type": "null" }] })
}

pub(super) fn presets(_: &mut SchemaGenerator) -> Schema {
    list(&shipped::preset_names())
}

pub(super) fn privileges(_: &mut SchemaGenerator) -> Schema {
    list(&privilege::NAMED.map(|(name, _)| name))
}

pub(super) fn accesses(_: &mut SchemaGenerator) -> Schema {
    names(&Access::NAMED.iter().map(|(name, _)| *name).chain(["all"]).collect::<Vec<_>>())
}

pub(super) fn operations(_: &mut SchemaGenerator) -> Schema {
    names(&OPERATIONS.map(|(name, _)| name))
}

pub(super) fn protocols(_: &mut SchemaGenerator) -> Schema {
    names(&PROTOCOLS.map(|(name, _)| name))
}

pub(super) fn ports(_: &mut SchemaGenerator) -> Schema {
    let number = json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX });
    let range = json!({ "type": "string", "pattern": "^ *[0-9]{1,5} *(- *[0-9]{1,5} *)?$" });
    json_schema!({ "type": "array", "items": { "anyOf": [number, range] } })
}

pub(super) fn ids(_: &mut SchemaGenerator) -> Schema {
    let number = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX - 1 });
    json_schema!({ "type": "array", "items": { "anyOf": [number, { "type": "string", "minLength": 1 }] } })
}

/// Exactly one of the three.
pub(super) fn one_effect() -> Value {
    json!([{ "required": ["allow"] }, { "required": ["ask"] }, { "required": ["deny"] }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_schema_is_current() {
        let current = json_schema() == include_str!("../../../../policies/schema.json");
        assert!(current, "hint: agentguard policy schema > policies/schema.json");
    }
}
