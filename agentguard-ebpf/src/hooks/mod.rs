//! One file per hook family. Every LSM entry honours an earlier refusal first and lets untagged tasks pass.

mod audit;
mod file;
mod lifecycle;
mod net;
mod path;
mod privilege;
