//! One file per hook family. Every LSM entry honours an earlier refusal first and lets untagged tasks pass.

mod attributes;
mod audit;
mod file;
mod ipc;
mod lifecycle;
mod memory;
mod net;
mod path;
mod privilege;
mod received;
mod routes;
mod socket;
mod unix;
