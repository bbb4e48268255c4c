//! `doctor`: what this machine can enforce, by trying.

use std::path::Path;

use anyhow::{Result, ensure};

use super::client;
use super::output::say;
use crate::daemon::api::Status;
use crate::kernel::{Kernel, Level};

pub(super) fn print(socket: &Path) -> Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    say!("kernel: {}", release.trim())?;
    if let Ok(status) = client::call::<Status>(socket, "/v1/status", None::<&()>) {
        say!("daemon: {} listens at {}", status.version, socket.display())?;
        say!("level: {} (in force)", status.level.name())?;
        say_why(status.why.as_deref())?;
        let failures: Vec<_> = status.counters.iter().filter(|(_, count)| **count > 0).collect();
        if failures.is_empty() {
            say!("failures counted in the kernel: none")?;
        }
        for (name, count) in failures {
            say!("failures counted in the kernel: {name} {count}")?;
        }
        return Ok(());
    }
    say!("daemon: none listens at {}", socket.display())?;
    let (kernel, why) = Kernel::best(None)?;
    say!("level: {} (programs loaded, attached, and a tagged child was refused)", kernel.level().name())?;
    say_why(why.as_deref())?;
    if !kernel.missing.is_empty() {
        say!("second lock: absent, this kernel refuses {}", kernel.missing.join(", "))?;
    }
    Ok(())
}

/// Loads each program of `level`, attaching none, and says what the verifier made of it.
pub(super) fn programs(level: Option<Level>, json: bool) -> Result<()> {
    let reports = Kernel::reports(level.unwrap_or(Level::Lsm))?;
    if json {
        say!("{}", serde_json::to_string(&reports)?)?;
    } else {
        say!("{:<22} {:<26} {:>12} {:>8} {:>8}", "PROGRAM", "ATTACHES TO", "INSTRUCTIONS", "BYTES", "MS")?;
    }
    let mut refused = 0;
    for report in &reports {
        refused += u32::from(report.error.is_some() && !report.optional);
        if json {
            continue;
        }
        let place = format!("{:<22} {:<26}", report.program, report.attaches_to);
        match &report.error {
            None => {
                let ms = report.load_ns as f64 / 1e6;
                let (checked, bytes) = (report.verified_instructions, report.jited_bytes);
                say!("{place} {checked:>12} {bytes:>8} {ms:>8.1}")?;
            }
            Some(e) if report.optional => say!("{place} refused (not needed): {}", first_line(e))?,
            Some(e) => say!("{place} refused: {e}")?,
        }
    }
    ensure!(refused == 0, "{refused} of {} programs are refused by this kernel", reports.len());
    Ok(())
}

/// The kernel's answer without the verifier's log.
fn first_line(error: &str) -> &str {
    let line = error.lines().next().unwrap_or_default();
    line.split(". Verifier output").next().unwrap_or(line)
}

/// Why not a higher level: the kernel's answer, without the verifier's log.
fn say_why(why: Option<&str>) -> Result<()> {
    if let Some(why) = why {
        say!("not lsm because: {}", first_line(why))?;
    }
    Ok(())
}
