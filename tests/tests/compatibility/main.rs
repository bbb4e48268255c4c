//! Real programs work unchanged under a policy that allows them, and nothing that they do is refused by the way: the
//! result is right, and the event log holds no denial but those that a workload declares with a reason.
//!
//! All workloads are invocations of one daemon, which is stopped when the last one is over.

mod archives;
mod build;
mod git;
mod network;
mod node;
mod python;
mod shell;
mod system;
mod workload;
