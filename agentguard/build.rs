//! Builds the eBPF object with whatever toolchain of this machine can, and leaves it in `OUT_DIR`.
//!
//! Not `aya-build`: it has no way to pass `-Ctarget-cpu=v3`, which atomics that return a value need.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

/// A nightly with `rust-src` if there is one, else the linked Debian toolchain that `cargo xtask setup` makes.
fn toolchain() -> &'static str {
    let sysroot = Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]).output();
    let has_source = sysroot.is_ok_and(|out| {
        let root = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        !root.is_empty() && Path::new(&root).join("lib/rustlib/src/rust/library/core").is_dir()
    });
    if has_source { "nightly" } else { "debian-rust" }
}

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../agentguard-common/src");
    println!("cargo:rerun-if-changed=../agentguard-ebpf/src");
    println!("cargo:rerun-if-env-changed=AYA_BUILD_SKIP");
    let out = env::var("OUT_DIR")?;
    let object = Path::new(&out).join("agentguard-bpf");
    if env::var_os("AYA_BUILD_SKIP").is_some_and(|v| v == "1") {
        // For lints and docs on machines without the BPF toolchain; such a binary refuses to load.
        return Ok(fs::write(object, [])?);
    }
    let target_dir = Path::new(&out).join("bpf");
    let flags = ["--cfg=bpf_target_arch=\"x86_64\"", "-Cdebuginfo=2", "-Ctarget-cpu=v3", "-Clink-arg=--btf"];
    let output = Command::new("rustup")
        .args(["run", toolchain(), "cargo", "build", "--quiet", "--release", "--bins"])
        .args(["--package", "agentguard-ebpf", "--target", "bpfel-unknown-none", "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTC")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .context("running rustup; hint: `cargo xtask setup` installs what the build needs")?;
    let messages = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the eBPF programs did not build; hint: `cargo xtask setup` installs what the build needs\n{messages}"
    );
    fs::copy(target_dir.join("bpfel-unknown-none/release/agentguard-bpf"), object)?;
    Ok(())
}
