//! Guest kernels: Debian's cloud images, downloaded and unpacked, never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Series of the test matrix: the oldest kernel that level `lsm` supports, and the newest that Debian 12 has.
pub(crate) const SERIES: [&str; 2] = ["6.12", "6.1"];

/// An unpacked kernel.
pub(crate) struct Kernel {
    /// `6.1`
    pub(crate) short: &'static str,
    /// `6.1.0-56-cloud-amd64`
    pub(crate) release: String,
    pub(super) image: PathBuf,
    pub(super) modules: Vec<PathBuf>,
}

fn text(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Numbers of a release, for ordering.
fn numbers(package: &str) -> Vec<u64> {
    package.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

/// The newest package of a series.
fn package(series: &str) -> Result<String> {
    let escaped = series.replace('.', "\\.");
    let pattern = format!("^linux-image-{escaped}\\.[^ ]*-cloud-amd64$");
    let found = text(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
    let names = found.lines().filter_map(|l| l.split(' ').next()).map(str::to_owned);
    names.max_by_key(|n| numbers(n)).with_context(|| {
        format!(
            "apt offers no linux-image-{series}.*-cloud-amd64; hint: apt-get update, Debian 12 with updates"
        )
    })
}

fn files_below(dir: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), out)?;
        } else {
            out.push(entry.path());
        }
    }
    Ok(())
}

impl Kernel {
    /// The kernel of a series, from `cache` or from the archive.
    pub(crate) fn get(series: &'static str, cache: &Path) -> Result<Self> {
        let dir = cache.join(series);
        if !dir.join("complete").exists() {
            fetch(series, &dir).with_context(|| format!("guest kernel {series}"))?;
        }
        let boot = dir.join("boot");
        let images = std::fs::read_dir(&boot)?.filter_map(Result::ok).map(|e| e.path());
        let image = images
            .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-")))
            .max()
            .with_context(|| format!("no kernel image in {}", boot.display()))?;
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let release = name.trim_start_matches("vmlinuz-").to_owned();
        let mut modules = Vec::new();
        files_below(&dir.join("lib/modules").join(&release).join("kernel"), &mut modules)?;
        Ok(Self { short: series, release, image, modules })
    }
}

fn fetch(series: &str, dir: &Path) -> Result<()> {
    let package = package(series)?;
    eprintln!("setup: downloading {package}");
    let _ = std::fs::remove_dir_all(dir); // an interrupted download
    std::fs::create_dir_all(dir)?;
    text(Command::new("apt-get").args(["download", &package]).current_dir(dir))?;
    let archives = std::fs::read_dir(dir)?.filter_map(Result::ok).map(|e| e.path());
    for archive in archives.filter(|p| p.extension().is_some_and(|e| e == "deb")) {
        text(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(dir))?;
        std::fs::remove_file(&archive)?;
    }
    std::fs::write(dir.join("complete"), package)?;
    Ok(())
}
