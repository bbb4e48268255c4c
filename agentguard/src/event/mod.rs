//! Events: from the rings, through the registry of invocations, to JSON lines.

mod enrich;
pub mod record;
mod ring;

pub use enrich::enrich;
pub use ring::{Raw, Ring, Sink, consume};
