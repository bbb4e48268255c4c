//! Guest kernels: Debian's cloud images, downloaded and unpacked, never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Series of the test matrix: the newest that Debian builds for any release, the newest that Debian 12 has, and the
/// oldest that level `lsm` supports.
pub(crate) const SERIES: [&str; 3] = [NEWEST, "6.12", "6.1"];
const NEWEST: &str = "newest";
/// Where the newest is. Its signing keys are in Debian 12's keyring.
const NEWEST_SOURCE: &str = "deb http://deb.debian.org/debian trixie-backports main\n";

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

/// The package lists that a series comes from.
struct Archive(Vec<String>);

impl Archive {
    /// This machine's own lists, or for the newest kernel lists of their own below `dir`.
    fn of(series: &str, dir: &Path) -> Result<Self> {
        if series != NEWEST {
            return Ok(Self(Vec::new()));
        }
        let [lists, cache, source] = ["lists", "cache", "sources.list"].map(|name| dir.join(name));
        std::fs::create_dir_all(lists.join("partial"))?;
        std::fs::create_dir_all(cache.join("archives/partial"))?;
        std::fs::write(&source, NEWEST_SOURCE)?;
        let options = [
            format!("Dir::Etc::SourceList={}", source.display()),
            "Dir::Etc::SourceParts=/dev/null".into(),
            format!("Dir::State::Lists={}", lists.display()),
            format!("Dir::Cache={}", cache.display()),
        ];
        let archive = Self(options.into_iter().flat_map(|o| ["--option".to_owned(), o]).collect());
        text(archive.command("apt-get").arg("update"))?;
        Ok(archive)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.0);
        command
    }

    /// The newest package whose name begins with `prefix` and goes on with a version for cloud machines.
    fn newest(&self, prefix: &str) -> Result<Option<String>> {
        let pattern = format!("^{}[0-9][^ ]*-cloud-amd64$", prefix.replace('.', "\\."));
        let found = text(self.command("apt-cache").args(["search", "--names-only", &pattern]))?;
        let names = found.lines().filter_map(|l| l.split(' ').next()).map(str::to_owned);
        Ok(names.max_by_key(|n| numbers(n)))
    }

    /// The packages that the kernel of a series is in: newer ones are in two parts.
    fn packages(&self, series: &str) -> Result<Vec<String>> {
        let version = if series == NEWEST { String::new() } else { format!("{series}.") };
        let image = self.newest(&format!("linux-image-{version}"))?.with_context(|| {
            format!("apt offers no linux-image-{version}*-cloud-amd64; hint: apt-get update, Debian 12 with updates")
        })?;
        let release = image.trim_start_matches("linux-image-");
        let binary = format!("linux-binary-{release}");
        let split = self.command("apt-cache").args(["show", &binary]).output()?.status.success();
        Ok(if split { vec![binary, format!("linux-modules-{release}")] } else { vec![image] })
    }
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
        let trees = ["lib/modules", "usr/lib/modules"].map(|tree| dir.join(tree));
        let tree = trees.iter().find(|tree| tree.exists());
        let tree = tree.with_context(|| format!("no modules in {}", dir.display()))?;
        let releases = std::fs::read_dir(tree)?.filter_map(Result::ok).map(|e| e.file_name());
        let release = releases.max().with_context(|| format!("no kernel in {}", tree.display()))?;
        let release = release.to_string_lossy().into_owned();
        let images =
            [dir.join("boot").join(format!("vmlinuz-{release}")), tree.join(&release).join("vmlinuz")];
        let image = images.into_iter().find(|image| image.exists());
        let image = image.with_context(|| format!("no image of {release} in {}", dir.display()))?;
        let mut modules = Vec::new();
        files_below(&tree.join(&release).join("kernel"), &mut modules)?;
        Ok(Self { short: series, release, image, modules })
    }
}

fn fetch(series: &str, dir: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(dir); // an interrupted download
    std::fs::create_dir_all(dir)?;
    let archive = Archive::of(series, dir)?;
    let packages = archive.packages(series)?;
    eprintln!("setup: downloading {}", packages.join(" "));
    text(archive.command("apt-get").arg("download").args(&packages).current_dir(dir))?;
    let archives = std::fs::read_dir(dir)?.filter_map(Result::ok).map(|e| e.path());
    for archive in archives.filter(|p| p.extension().is_some_and(|e| e == "deb")) {
        text(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(dir))?;
        std::fs::remove_file(&archive)?;
    }
    std::fs::write(dir.join("complete"), packages.join(" "))?;
    Ok(())
}
