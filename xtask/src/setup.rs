//! Installing what building and testing need, from the distribution's packages and crates.io.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

const BPF_LINKER: &str = "0.13.0";
const CARGO_DENY: &str = "0.19.4";

/// What the compatibility tests run. Without npm, which draws in 350 packages: where it is not installed, or came
/// with another build of Node.js, its test says that it was skipped.
const WORKLOADS: &[&str] =
    &["bzip2", "make", "nodejs", "openssh-client", "perl", "python3-venv", "rsync", "sqlite3", "tmux"];

fn succeeds(program: &str, args: &[&str]) -> bool {
    let command = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    command.is_ok_and(|status| status.success())
}

/// One long step: says what it does, and on failure what to do.
fn step(what: &str, hint: &str, command: &mut Command) -> Result<()> {
    eprintln!("setup: {what}");
    let output = command.output().with_context(|| format!("{what}: starting {command:?}"))?;
    ensure!(
        output.status.success(),
        "{what} failed: {command:?}\n{}\nhint: {hint}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn packages(names: &[&str]) -> Result<()> {
    let missing: Vec<_> = names.iter().filter(|name| !succeeds("dpkg", &["-s", name])).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = "the BPF toolchain needs Debian 12 with its security archive, as root";
    step("refreshing the package lists", hint, Command::new("apt-get").arg("update"))?;
    let what = format!("installing {}", missing.join(" "));
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "--no-install-recommends"]).args(&missing);
    step(&what, hint, install.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn nightly_has_source() -> bool {
    let output = Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]).output();
    output.is_ok_and(|out| {
        let sysroot = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        let library = std::path::Path::new(&sysroot).join("lib/rustlib/src/rust/library/core");
        !sysroot.is_empty() && library.is_dir()
    })
}

/// Installs what is missing.
pub(super) fn ensure_installed() -> Result<()> {
    packages(&["llvm-22-dev", "curl", "git", "python3", "gcc", "xz-utils"])?;
    packages(&["qemu-system-x86", "busybox-static"])?;
    packages(WORKLOADS)?;
    if !nightly_has_source() {
        packages(&["rustc-web", "cargo-web", "rust-web-src"])?;
        if !succeeds("rustup", &["run", "debian-rust", "rustc", "--version"]) {
            let mut link = Command::new("rustup");
            link.args(["toolchain", "link", "debian-rust", "/usr"]);
            step("linking Debian's Rust as toolchain debian-rust", "is rustup installed?", &mut link)?;
        }
    }
    if !succeeds("bpf-linker", &["--version"]) {
        let mut install = Command::new("cargo");
        install.args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked"]);
        install.args(["--no-default-features", "--features", "llvm-22"]);
        install.env("LLVM_PREFIX", "/usr/lib/llvm-22");
        step("building bpf-linker (about a minute)", "it needs llvm-22-dev and crates.io", &mut install)?;
    }
    Ok(())
}

/// Installs what only `lint` needs.
pub(super) fn ensure_lints() -> Result<()> {
    if !succeeds("cargo", &["deny", "--version"]) {
        let mut install = Command::new("cargo");
        install.args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--no-default-features"]);
        step("building cargo-deny (a few minutes)", "it needs crates.io and a C compiler", &mut install)?;
    }
    Ok(())
}

/// Installs what only fuzzing the control socket needs.
pub(super) fn ensure_api_fuzzing() -> Result<()> {
    packages(&["socat", "python3-venv"])
}

/// Installs what enforcement is compared with, beyond what the kernel has.
pub(super) fn ensure_peers() -> Result<()> {
    packages(&["apparmor"])
}

/// Installs what only the fuzz targets need: libFuzzer is C++.
pub(super) fn ensure_fuzzing() -> Result<()> {
    packages(&["g++"])
}
