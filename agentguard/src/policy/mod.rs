//! Policy: from YAML documents to rules, from rules to the kernel's tables.

pub mod model;
