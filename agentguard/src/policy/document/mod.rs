//! The YAML document, its includes and its variables.

mod digest;
mod mistake;
mod read;
mod schema;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use self::read::Reader;
use self::schema::Document;
use super::error::PolicyError;
use super::model::{Environment, Policy};
use super::shipped;

const API_VERSION: &str = "agentguard.dev/v1alpha1";
const KIND: &str = "AgentPolicy";
/// As for every Kubernetes object.
const MAX_NAME: usize = 253;

/// Values of `${home}`, `${workspace}`, `${user}`, `${uid}` and `${tmp}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Variables {
    pub home: String,
    pub workspace: String,
    pub user: String,
    pub uid: u32,
    pub tmp: String,
}

/// A mistake at the place of `field`.
fn wrong(file: &str, field: &Spanned<String>, message: String, hint: String) -> PolicyError {
    let (line, column) = (field.referenced.line(), field.referenced.column());
    PolicyError { file: file.to_owned(), line, column, message, hint: Some(hint) }
}

fn parse(file: &str, yaml: &str) -> Result<Document, PolicyError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let document: Document =
        serde_saphyr::from_str_with_options(yaml, options).map_err(|e| mistake::mistake(file, &e))?;
    for (field, want) in [(&document.api_version, API_VERSION), (&document.kind, KIND)] {
        if field.value != want {
            let message = format!("`{}` is not supported here", field.value);
            return Err(wrong(file, field, message, format!("write {want}")));
        }
    }
    let name = &document.metadata.name;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    if name.value.is_empty() || name.value.len() > MAX_NAME || !name.value.bytes().all(plain) {
        let hint = format!("1 to {MAX_NAME} of a-z, 0-9, `-` and `.`");
        return Err(wrong(file, name, format!("bad name {:?}", name.value), hint));
    }
    Ok(document)
}

/// Adds the includes of `document`, and theirs, to `found` in the order they are named. `chain` holds the presets
/// that led here.
fn collect(
    file: &str,
    document: &Document,
    preset: &dyn Fn(&str) -> Option<&'static str>,
    chain: &mut Vec<String>,
    found: &mut Vec<(String, Document)>,
) -> Result<(), PolicyError> {
    let mut named: Vec<&str> = Vec::new();
    for include in &document.spec.include {
        let name = include.value.as_str();
        if named.contains(&name) {
            let hint = "remove one of the two".to_owned();
            return Err(wrong(file, include, format!("preset `{name}` is included twice"), hint));
        }
        named.push(name);
        if chain.iter().any(|c| c == name) {
            let message = format!("include cycle: {} -> {name}", chain.join(" -> "));
            return Err(wrong(file, include, message, "remove this include".into()));
        }
        if found.iter().any(|(n, _)| n == name) {
            continue; // by another preset
        }
        let Some(yaml) = preset(name) else {
            let hint = mistake::nearest(name, &shipped::preset_names());
            return Err(wrong(file, include, format!("unknown preset `{name}`"), hint));
        };
        let file = format!("preset {name}");
        let included = parse(&file, yaml)?;
        let at = found.len();
        chain.push(name.to_owned());
        collect(&file, &included, preset, chain, found)?;
        chain.pop();
        found.insert(at, (name.to_owned(), included));
    }
    Ok(())
}

/// Adds the rules of one document. `mode` and `logAllowed` are the policy's own; of variables with a fixed value the
/// first document that sets one counts.
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
        policy.network.push(reader.network(rule)?);
    }
    policy.privileges |= reader.privileges(&spec.privileges)?;
    policy.environment.pass.extend(spec.environment.pass.iter().cloned());
    policy.environment.deny.extend(spec.environment.deny.iter().cloned());
    for (name, value) in &spec.environment.set {
        reader.variable(name, value)?;
        policy.environment.set.entry(name.clone()).or_insert_with(|| value.value.clone());
    }
    Ok(())
}

fn load_with(
    file: &str,
    yaml: &str,
    variables: &Variables,
    preset: &dyn Fn(&str) -> Option<&'static str>,
) -> Result<Policy, PolicyError> {
    let main = parse(file, yaml)?;
    let mut includes = Vec::new();
    collect(file, &main, preset, &mut Vec::new(), &mut includes)?;
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
    merge(&Reader::new(file, &main, variables), &main, &mut policy)?;
    for (name, document) in &includes {
        merge(&Reader::new(&format!("preset {name}"), document, variables), document, &mut policy)?;
    }
    let includes: BTreeMap<_, _> = includes.into_iter().collect();
    policy.digest = digest::digest(&main, &includes).map_err(|e| PolicyError {
        file: file.to_owned(),
        line: 0,
        column: 0,
        message: format!("no canonical form: {e}"),
        hint: None,
    })?;
    Ok(policy)
}

/// Reads a document with its includes. Nothing of a refused document is used.
///
/// # Errors
/// The first mistake, with its line, column and a hint.
pub fn load(file: &str, yaml: &str, variables: &Variables) -> Result<Policy, PolicyError> {
    load_with(file, yaml, variables, &shipped::preset)
}

#[cfg(test)]
mod tests;
