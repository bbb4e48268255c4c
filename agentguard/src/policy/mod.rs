//! Policy: from YAML documents to rules, from rules to the kernel's tables.

pub mod cases;
pub mod compile;
pub mod diff;
mod document;
mod error;
mod explain;
mod explainer;
pub(crate) mod glob;
pub mod judge;
mod matcher;
pub mod model;
mod shipped;
pub mod subjects;

pub use document::{Variables, json_schema, load};
pub use error::PolicyError;
pub use explain::{explain_file, explain_file_chain, explain_net, explain_net_chain, tool_of};
pub use explainer::{Chain, Explainer};
pub use shipped::{builtin, builtin_names};
