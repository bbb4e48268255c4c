//! The `agentguard` command.

use std::process::ExitCode;

use agentguard::cli::{self, Cli, output};
use clap::Parser as _;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    let failure = cli.failure_status();
    match cli::main(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            output::note(format_args!("error: {e:#}"));
            ExitCode::from(failure)
        }
    }
}
