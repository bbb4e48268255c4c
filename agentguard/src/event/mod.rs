//! Events: from the rings, through the registry of invocations, to JSON lines.

mod enrich;
mod line;
mod plain;
pub mod record;
mod ring;

pub use enrich::{Exes, enrich};
pub use ring::{Raw, Ring, Sink, consume};
