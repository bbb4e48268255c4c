//! Everything the command line prints. `println!` would abort when nobody reads the output any more, as in
//! `agentguard events | head`.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Result};

/// The reader of standard output went away: it has read enough, which is no failure.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
pub(super) struct Unread;

/// Writes to standard output.
pub(super) fn write(text: Arguments<'_>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(Unread.into()),
        other => other.context("writing the output"),
    }
}

/// Writes a line to standard error. Where that is not possible nobody can be told.
pub fn note(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "agentguard: {text}");
}

/// A line of data for standard output; to be followed by `?`.
macro_rules! say {
    ($($argument:tt)*) => { $crate::cli::output::write(format_args!("{}\n", format_args!($($argument)*))) };
}
pub(super) use say;
