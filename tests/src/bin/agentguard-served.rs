//! `agentguard-served COMMAND [ARGUMENT]...`: runs test programs with one daemon for all their [`Site::served`] sites,
//! and checks afterwards that it leaves nothing. Ends with the command's status.

use std::process::{Command, ExitCode};

use agentguard_tests::Site;
use agentguard_tests::site::SERVED;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().expect("usage: agentguard-served COMMAND [ARGUMENT]...");
    let site = Site::new();
    let daemon = site.daemon();
    let status = Command::new(program).args(arguments).env(SERVED, site.path("")).status();
    daemon.stop(&site, libc::SIGTERM);
    let status = status.expect("the command starts");
    ExitCode::from(u8::from(!status.success()))
}
