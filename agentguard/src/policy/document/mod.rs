//! The YAML document, its includes and its variables.

mod digest;
mod json_schema;
mod mistake;
mod read;
mod schema;
mod tools;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

pub use self::json_schema::json_schema;
pub(super) use self::mistake::{mistake, nearest};
pub(super) use self::read::PROTOCOLS;
use self::read::Reader;
pub(super) use self::schema::Names;
use self::schema::{Document, Files, Network};
use self::tools::Tools;
use super::error::PolicyError;
use super::model::{Environment, Mode, Policy};
use super::shipped;

const API_VERSION: &str = "agentguard.dev/v1alpha1";
const KIND: &str = "AgentPolicy";
/// As for every Kubernetes object.
const MAX_NAME: usize = 253;

/// Values of `${home}`, `${workspace}`, `${user}`, `${uid}` and `${tmp}`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Variables {
    pub home: String,
    pub workspace: String,
    pub user: String,
    pub uid: u32,
    pub tmp: String,
}

impl Variables {
    /// The text with the values of its variables, each as `write` spells it.
    ///
    /// # Errors
    /// What is wrong with a variable, and a hint.
    pub(super) fn expand(
        &self,
        text: &str,
        write: impl Fn(&str) -> String,
    ) -> Result<String, (String, String)> {
        let uid = self.uid.to_string();
        let values: [(&str, &str); 5] = [
            ("home", &self.home),
            ("workspace", &self.workspace),
            ("user", &self.user),
            ("uid", &uid),
            ("tmp", &self.tmp),
        ];
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                return Err(("`${` without `}`".into(), "write ${home}, ${workspace}, ..".into()));
            };
            let Some((_, value)) = values.iter().find(|(n, _)| *n == name) else {
                let names = values.map(|(n, _)| n);
                return Err((format!("unknown variable `{name}`"), nearest(name, &names)));
            };
            out.push_str(before);
            out.push_str(&write(value));
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// A mistake at the place of `field`.
fn wrong(file: &str, field: &Spanned<String>, message: String, hint: String) -> PolicyError {
    let (line, column) = (field.referenced.line(), field.referenced.column());
    PolicyError { file: file.to_owned(), line, column, message, hint: Some(hint) }
}

/// Refuses a name that is not 1 to 253 of a few characters.
fn check_name(file: &str, name: &Spanned<String>) -> Result<(), PolicyError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    if name.value.is_empty() || name.value.len() > MAX_NAME || !name.value.bytes().all(plain) {
        let hint = format!("1 to {MAX_NAME} of a-z, 0-9, `-` and `.`");
        return Err(wrong(file, name, format!("bad name {:?}", name.value), hint));
    }
    Ok(())
}

fn parse(file: &str, yaml: &str) -> Result<Document, PolicyError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let document: Document = serde_saphyr::from_str_with_options(yaml, options)
        .map_err(|e| mistake(file, &e, "begin with `apiVersion:`"))?;
    for (field, want) in [(&document.api_version, API_VERSION), (&document.kind, KIND)] {
        if field.value != want {
            let message = format!("`{}` is not supported here", field.value);
            return Err(wrong(file, field, message, format!("write {want}")));
        }
    }
    check_name(file, &document.metadata.name)?;
    Ok(document)
}

/// Adds the presets that `include` names, and theirs, to `found` in the order they are named. `chain` holds the
/// presets that led here.
fn collect(
    file: &str,
    include: &[Spanned<String>],
    preset: &dyn Fn(&str) -> Option<&'static str>,
    chain: &mut Vec<String>,
    found: &mut Vec<(String, Document)>,
) -> Result<(), PolicyError> {
    let mut named: Vec<&str> = Vec::new();
    for include in include {
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
            let hint = nearest(name, &shipped::preset_names());
            return Err(wrong(file, include, format!("unknown preset `{name}`"), hint));
        };
        let file = format!("preset {name}");
        let included = parse(&file, yaml)?;
        let at = found.len();
        chain.push(name.to_owned());
        collect(&file, &included.spec.include, preset, chain, found)?;
        chain.pop();
        found.insert(at, (name.to_owned(), included));
    }
    Ok(())
}

/// Adds the rules of one document. `mode`, `logAllowed` and `subjects` are the policy's own; of variables with a fixed
/// value the first document that sets one counts.
fn merge(reader: &Reader<'_>, document: &Document, policy: &mut Policy) -> Result<(), PolicyError> {
    let spec = &document.spec;
    if let Some((ttl, max_ttl)) = reader.lifetimes(spec)? {
        policy.ttl = Some(policy.ttl.map_or(ttl, |t| t.min(ttl)));
        policy.max_ttl = Some(policy.max_ttl.map_or(max_ttl, |t| t.min(max_ttl)));
    }
    merge_rules(reader, &spec.files, &spec.network, &spec.privileges, policy)?;
    policy.environment.pass.extend(spec.environment.pass.iter().cloned());
    policy.environment.deny.extend(spec.environment.deny.iter().cloned());
    for (name, value) in &spec.environment.set {
        reader.variable(name, value)?;
        policy.environment.set.entry(name.clone()).or_insert_with(|| value.value.clone());
    }
    Ok(())
}

/// Adds what documents and tools have in common.
fn merge_rules(
    reader: &Reader<'_>,
    files: &[Spanned<Files>],
    network: &[Spanned<Network>],
    privileges: &[Spanned<String>],
    policy: &mut Policy,
) -> Result<(), PolicyError> {
    for rule in files {
        reader.files(rule, &mut policy.files)?;
    }
    for rule in network {
        policy.network.push(reader.network(rule)?);
    }
    policy.privileges |= reader.privileges(privileges)?;
    Ok(())
}

/// A policy without rules.
fn empty(name: String, mode: Mode) -> Policy {
    Policy {
        name,
        digest: String::new(),
        mode,
        ttl: None,
        max_ttl: None,
        subjects: None,
        log_allowed: false,
        files: Vec::new(),
        network: Vec::new(),
        environment: Environment::default(),
        privileges: 0,
        tools: Vec::new(),
    }
}

fn load_with(
    file: &str,
    yaml: &str,
    variables: &Variables,
    preset: &dyn Fn(&str) -> Option<&'static str>,
) -> Result<Policy, PolicyError> {
    let main = parse(file, yaml)?;
    let mut includes = Vec::new();
    collect(file, &main.spec.include, preset, &mut Vec::new(), &mut includes)?;
    let mut policy = empty(main.metadata.name.value.clone(), main.spec.mode);
    policy.log_allowed = main.spec.log_allowed;
    let reader = Reader::new(file, &main, variables);
    policy.subjects = main.spec.subjects.as_ref().map(|s| reader.subjects(s)).transpose()?;
    let mut tools = Tools::new(variables, preset);
    merge(&reader, &main, &mut policy)?;
    tools.add(file, &main, &mut policy)?;
    for (name, document) in &includes {
        let file = format!("preset {name}");
        merge(&Reader::new(&file, document, variables), document, &mut policy)?;
        tools.add(&file, document, &mut policy)?;
    }
    let includes: BTreeMap<_, _> = includes.into_iter().chain(tools.includes).collect();
    policy.digest = digest::digest(&main, &includes).map_err(|e| PolicyError {
        file: file.to_owned(),
        line: 0,
        column: 0,
        message: format!("no canonical form: {e}"),
        hint: None,
    })?;
    for at in 0..policy.tools.len() {
        policy.tools[at].policy.digest = digest::of_tool(&policy, &policy.tools[at].name);
    }
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
