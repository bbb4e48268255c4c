//! `doctor`: what this machine can enforce, by trying.

use std::path::Path;

use anyhow::Result;

use super::client;
use super::output::say;
use crate::daemon::api::Status;
use crate::kernel::Kernel;

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
    let (kernel, why) = Kernel::best()?;
    say!("level: {} (programs loaded, attached, and a tagged child was refused)", kernel.level().name())?;
    say_why(why.as_deref())?;
    if !kernel.missing.is_empty() {
        say!("second lock: absent, this kernel refuses {}", kernel.missing.join(", "))?;
    }
    Ok(())
}

/// Why not a higher level: the kernel's answer, without the verifier's log.
fn say_why(why: Option<&str>) -> Result<()> {
    if let Some(why) = why {
        let line = why.lines().next().unwrap_or_default();
        say!("not lsm because: {}", line.split(". Verifier output").next().unwrap_or(line))?;
    }
    Ok(())
}
