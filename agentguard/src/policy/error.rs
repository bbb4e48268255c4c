//! What is wrong with a document: where, what, and what to do.

/// A document was refused. Nothing of it is used.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}{}", hint.as_ref().map(|h| format!("\nhint: {h}")).unwrap_or_default())]
pub struct PolicyError {
    pub file: String,
    /// Counted from 1; 0 when unknown.
    pub line: u64,
    pub column: u64,
    pub message: String,
    pub hint: Option<String>,
}
