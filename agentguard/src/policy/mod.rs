//! Policy: from YAML documents to rules, from rules to the kernel's tables.

pub mod compile;
mod document;
mod error;
mod explain;
pub(crate) mod glob;
mod matcher;
pub mod model;
mod shipped;

pub use document::{Variables, load};
pub use error::PolicyError;
pub use explain::{explain_file, explain_net};
pub use shipped::{builtin, builtin_names};
