//! From what the YAML reader says to what an operator can act on.

use serde_saphyr::Error;

use crate::policy::error::PolicyError;

/// Names further away than this share no likely origin.
const MAX_DISTANCE: usize = 3;

/// A hint that names the nearest known name, or all of them if none is near.
pub(in crate::policy) fn nearest(name: &str, known: &[&str]) -> String {
    let distance = |k: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &k.to_lowercase());
    let best = known.iter().map(|k| (distance(k), *k)).min();
    match best.filter(|(d, k)| *d <= MAX_DISTANCE && 2 * d < k.len().max(2)) {
        Some((_, k)) => format!("did you mean `{k}`?"),
        None => format!("one of {}", known.join(", ")),
    }
}

/// Message and hint; `begin` is the hint for an empty document.
fn describe(error: &Error, begin: &str) -> (String, String) {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => describe(error, begin),
        Error::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown field `{field}`"), nearest(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown value `{variant}`"), nearest(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => {
            (format!("missing field `{field}`"), format!("add `{field}:` to this mapping"))
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("a key");
            (format!("duplicate key `{key}`"), "merge the two: a key counts once in a mapping".into())
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            (format!("wrong type: {unexpected}"), format!("write {expected}"))
        }
        Error::InvalidBooleanStrict { .. } => {
            ("wrong type: not a boolean".into(), "write true or false".into())
        }
        Error::NullIntoString { .. } => ("wrong type: null".into(), "write a string, in quotes".into()),
        Error::Unexpected { expected, .. } => ("wrong type".into(), format!("write {expected}")),
        Error::MultipleDocuments { .. } => {
            ("more than one YAML document".into(), "write one policy per file, without `---`".into())
        }
        Error::UnknownAnchor { .. } => {
            ("a YAML alias without an anchor".into(), "quote what begins with `*`: \"**/.env\"".into())
        }
        Error::Eof { .. } => ("the document ends too early".into(), begin.into()),
        other => {
            let text = other.to_string();
            let text = text.lines().next().unwrap_or_default();
            let text = text.split_once(" at line ").map_or(text, |(what, _)| what);
            (text.to_owned(), "check indentation, and quote strings that hold any of : { [ * & # \"".into())
        }
    }
}

/// The reader's error as ours; `begin` is the hint for an empty document.
pub(in crate::policy) fn mistake(file: &str, error: &Error, begin: &str) -> PolicyError {
    let at = error.location();
    let (message, hint) = describe(error, begin);
    PolicyError {
        file: file.to_owned(),
        line: at.map_or(0, |l| l.line()),
        column: at.map_or(0, |l| l.column()),
        message,
        hint: Some(hint),
    }
}
