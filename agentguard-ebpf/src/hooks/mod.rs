//! One file per hook family. Every LSM entry honours an earlier refusal first and lets untagged tasks pass.

mod attributes;
mod audit;
mod census;
mod enrol;
mod file;
mod ipc;
mod lifecycle;
mod lineage;
mod memory;
mod net;
mod open;
mod path;
mod preemption;
mod privilege;
mod received;
mod routes;
mod socket;
mod tools;
mod unix;
