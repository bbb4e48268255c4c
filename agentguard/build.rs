//! Builds the eBPF object with whatever toolchain of this machine can, and leaves it in `OUT_DIR`.

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};
use std::process::Command;

/// A nightly with `rust-src` if there is one, else the linked Debian toolchain that `cargo xtask setup` makes.
fn toolchain() -> &'static str {
    let sysroot = Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]).output();
    let has_source = sysroot.is_ok_and(|out| {
        let root = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        !root.is_empty() && std::path::Path::new(&root).join("lib/rustlib/src/rust/library/core").is_dir()
    });
    if has_source { "nightly" } else { "debian-rust" }
}

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../agentguard-common/src");
    // SAFETY: a build script's main thread, before any other thread exists.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    let package = Package { name: "agentguard-ebpf", root_dir: "../agentguard-ebpf", ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(toolchain()))
        .context("the eBPF programs did not build; `cargo xtask setup` installs what the build needs")
}
