//! The guest's first file system: busybox, the modules that reach the root, and the script to run.
//!
//! Format: <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Kernel;

/// Modules that the guest needs; a kernel that has one built in has no file for it.
const MODULES: &[&str] = &["virtio_pci", "virtiofs", "overlay", "virtio_rng"];
/// Protocols that attacks go by, and that a guest has no program to load for.
const PROTOCOLS: &[&str] = &["sctp", "af_key", "algif_hash", "vsock_loopback"];

/// Mounts the shared root under an overlay, becomes it, runs the script, prints its status, powers off.
const INIT: &str = r#"#!/bin/busybox sh
bb=/bin/busybox
die() { echo "init: $1"; echo "AGENTGUARD-VM-EXIT 125"; $bb poweroff -f; }
$bb mount -t devtmpfs dev /dev 2>/dev/null || $bb mknod /dev/console c 5 1
for m in $($bb cat /modules/order); do $bb insmod /modules/$m || die "module $m"; done
$bb mount -t virtiofs -o ro root /lower || die "virtiofs"
$bb mount -t tmpfs -o mode=755 tmpfs /over || die "tmpfs"
$bb mkdir /over/upper /over/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/over/upper,workdir=/over/work overlay /root || die "overlay"
for d in proc sys dev run tmp; do $bb mkdir -p /root/$d; done
$bb mount -t proc proc /root/proc
$bb mount -t sysfs sys /root/sys
$bb mount -t devtmpfs dev /root/dev
$bb mkdir -p /root/dev/pts /root/dev/shm
$bb ln -s /proc/self/fd /root/dev/fd
for n in 0:stdin 1:stdout 2:stderr; do $bb ln -s /proc/self/fd/${n%:*} /root/dev/${n#*:}; done
$bb mount -t devpts -o ptmxmode=666 pts /root/dev/pts
$bb mount -t tmpfs -o mode=1777 tmp /root/dev/shm
$bb mount -t tmpfs -o mode=755 run /root/run
$bb mount -t tmpfs -o mode=1777 tmp /root/tmp
workspace=$($bb cat /workspace)
case $workspace in /tmp/*) # which is hidden now
  $bb mkdir -p /root$workspace && $bb mount --bind /lower$workspace /root$workspace || die "workspace";;
esac
$bb mount -t securityfs none /root/sys/kernel/security
$bb mount -t bpf none /root/sys/fs/bpf
$bb mount -t cgroup2 none /root/sys/fs/cgroup || die "cgroup2"
$bb mount -t tracefs none /root/sys/kernel/tracing 2>/dev/null
$bb ip link set lo up
$bb hostname agentguard-vm
$bb cp /script /root/run/script
exec $bb switch_root /root /bin/bash -c '
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8
  cd /
  # What starts all the time comes into memory: from the host, each open and each link costs a walk there.
  for link in /bin /lib /lib64 /sbin /usr/bin/python3; do [ ! -L $link ] || chown -h 0:0 $link; done
  modules="import sys, ctypes, json, mmap, socket, subprocess, tempfile, threading
for m in [*sys.modules.values()]: print(getattr(m, \"__cached__\", None) or getattr(m, \"__file__\", \"\") or \"\")"
  { ldd /bin/bash /usr/bin/python3; /usr/bin/python3 -c "$modules"; } 2>/dev/null | grep -o "/[^ :]*" |
    xargs chmod u+r /bin/bash /bin/cat /bin/true "$(readlink -f /usr/bin/python3)" 2>/dev/null
  bash /run/script </dev/null 2>&1
  status=$?; echo; echo "AGENTGUARD-VM-EXIT $status"
  sync; echo o > /proc/sysrq-trigger; sleep 60'
"#;

struct Archive(Vec<u8>);

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        let number = self.0.len();
        let fields =
            [number as u32, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.0.extend(b"070701");
        for field in fields {
            write!(self.0, "{field:08x}")?;
        }
        self.0.extend(name.as_bytes());
        self.0.push(0);
        self.pad();
        self.0.extend(data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// Modules in the order in which they can be inserted.
#[derive(Default)]
struct Modules(Vec<(String, Vec<u8>)>);

impl Modules {
    /// Adds a module behind what it depends on; one that is built in has no file and needs nothing.
    fn add(&mut self, kernel: &Kernel, name: &str) -> Result<()> {
        if self.0.iter().any(|(have, _)| have == name) {
            return Ok(());
        }
        let Some(file) = kernel.modules.iter().find(|file| module_name(file) == name) else { return Ok(()) };
        let bytes = match file.extension().and_then(|e| e.to_str()) {
            Some("xz") => unpacked(file)?,
            _ => std::fs::read(file).with_context(|| file.display().to_string())?,
        };
        for dependency in dependencies(&bytes) {
            self.add(kernel, &dependency)?;
        }
        self.0.push((name.to_owned(), bytes));
        Ok(())
    }
}

/// The kernel's name of a module file: dashes are underscores.
fn module_name(file: &Path) -> String {
    let base = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    base.split('.').next().unwrap_or_default().replace('-', "_")
}

/// `depends=` of the module's `.modinfo`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|w| w == key) else { return Vec::new() };
    let rest = &module[at + key.len()..];
    let list = String::from_utf8_lossy(rest.split(|b| *b == 0).next().unwrap_or_default());
    list.split(',').filter(|d| !d.is_empty()).map(|d| d.replace('-', "_")).collect()
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let output =
        Command::new("xz").args(["--decompress", "--stdout"]).arg(file).output().context("starting xz")?;
    ensure!(output.status.success(), "xz cannot unpack {}", file.display());
    Ok(output.stdout)
}

/// Builds the archive.
pub(super) fn build(kernel: &Kernel, script: &str) -> Result<Vec<u8>> {
    let mut archive = Archive(Vec::new());
    for dir in ["bin", "dev", "modules", "lower", "over", "root"] {
        archive.entry(dir, 0o40_755, &[])?;
    }
    let busybox = std::fs::read("/bin/busybox").context("/bin/busybox (package busybox-static)")?;
    archive.entry("bin/busybox", 0o100_755, &busybox)?;
    let mut modules = Modules::default();
    for name in MODULES.iter().chain(PROTOCOLS) {
        modules.add(kernel, name)?;
    }
    let mut order = String::new();
    for (name, bytes) in &modules.0 {
        archive.entry(&format!("modules/{name}"), 0o100_644, bytes)?;
        order.push_str(name);
        order.push('\n');
    }
    archive.entry("modules/order", 0o100_644, order.as_bytes())?;
    archive.entry("script", 0o100_644, script.as_bytes())?;
    archive.entry("workspace", 0o100_644, crate::root().as_os_str().as_encoded_bytes())?;
    archive.entry("init", 0o100_755, INIT.as_bytes())?;
    archive.entry("TRAILER!!!", 0, &[])?;
    Ok(archive.0)
}
