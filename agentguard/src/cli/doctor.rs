//! `doctor`: what this machine can enforce, by trying.

use std::path::Path;

use anyhow::Result;

use super::client;
use crate::daemon::api::Status;
use crate::kernel::Kernel;

pub(super) fn print(socket: &Path) -> Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("kernel: {}", release.trim());
    if let Ok(status) = client::call::<Status>(socket, "/v1/status", None::<&()>) {
        println!("daemon: {} listens at {}", status.version, socket.display());
        println!("level: {} (in force)", status.level.name());
        if let Some(why) = status.why {
            println!("not lsm because: {}", first_line(&why));
        }
        for (name, count) in status.counters {
            println!("failures counted in the kernel: {name} = {count}");
        }
        return Ok(());
    }
    println!("daemon: none listens at {}", socket.display());
    let (kernel, why) = Kernel::best()?;
    println!("level: {} (programs loaded, attached, and a tagged child was refused)", kernel.level().name());
    if let Some(why) = why {
        println!("not lsm because: {}", first_line(&why));
    }
    for program in &kernel.missing {
        println!("without the second lock {}", first_line(program));
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
