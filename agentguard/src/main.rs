//! The `agentguard` command.

use std::process::ExitCode;

use agentguard::cli::{self, Cli};
use clap::Parser as _;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match cli::main(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("agentguard: error: {e:#}");
            ExitCode::FAILURE
        }
    }
}
