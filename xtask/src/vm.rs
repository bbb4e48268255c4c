//! Virtual machines with Debian's kernels, for level `lsm`: this host's own root file system under an overlay, so the
//! guest has the same programs and the same paths, and changes nothing here.

mod initramfs;
mod kernels;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use kernels::{Kernel, SERIES};

/// Line that the guest prints last; the exit status of the command follows.
const EXIT_MARK: &str = "AGENTGUARD-VM-EXIT ";
const MEMORY: &str = "3G";

/// What the guest's clock shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Time,
    /// One nanosecond for each instruction, on one processor: figures repeat whatever this host does.
    Instructions,
}

/// What a guest run printed and how it ended.
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) output: String,
    pub(crate) elapsed: Duration,
}

/// Has a guest forget the host's files that nobody uses, and the host close them.
pub(crate) const FORGET: &str = "echo 2 > /proc/sys/vm/drop_caches";

/// A child that does not outlive its owner, in any way the owner may end.
struct Owned(Child);

impl Owned {
    fn spawn(command: &mut Command) -> Result<Self> {
        command.spawn().map(Self).with_context(|| format!("starting {command:?}"))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// A command that the kernel kills when this process dies.
fn tied(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// Serves the root file system, read-only, on a vhost-user socket.
///
/// The server keeps a descriptor for every file that the guest has in its caches, and gives the guest its own `EMFILE` when
/// it has too many. It can't raise its limit above ours, so it gets all of ours, and no entries of directories that the
/// guest only lists. See also [`FORGET`].
fn share_root(socket: &Path) -> Result<Owned> {
    let script = "mount --make-rprivate / && mount -t tmpfs run /run && mount --bind \"$1\" \"$1\" && \
                  mount -o remount,bind,ro / && \
                  { ulimit -S -n \"$(ulimit -H -n)\" || :; } && exec setpriv --pdeathsig KILL \
                  /usr/lib/qemu/virtiofsd --socket-path=\"$0\" -o source=/ -o cache=always -o sandbox=chroot \
                  -o no_readdirplus -o log_level=err";
    let mut command = tied("unshare");
    let dir = socket.parent().unwrap_or(Path::new("/"));
    command.args(["--mount", "sh", "-c", script]).arg(socket).arg(dir).stdout(Stdio::null());
    let mut child = Owned::spawn(&mut command)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        if let Some(status) = child.0.try_wait()? {
            bail!("virtiofsd ended with {status}; hint: it needs root and CAP_SYS_ADMIN");
        }
        ensure!(Instant::now() < deadline, "virtiofsd did not open {}", socket.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

fn qemu(kernel: &Kernel, initramfs: &Path, socket: &Path, clock: Clock) -> Command {
    let mut command = tied("qemu-system-x86_64");
    command.args(["-machine", "q35,memory-backend=memory", "-cpu", "max"]);
    command.args(match clock {
        Clock::Time => ["-accel", "tcg,thread=single", "-smp", "2"].as_slice(),
        Clock::Instructions => &["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=0,sleep=off"],
    });
    command.args(["-m", MEMORY, "-display", "none", "-monitor", "none", "-serial", "stdio"]);
    command.args(["-no-reboot", "-nodefaults", "-object"]);
    command.arg(format!("memory-backend-memfd,id=memory,size={MEMORY},share=on"));
    command.arg("-chardev").arg(format!("socket,id=root,path={}", socket.display()));
    command.args(["-device", "vhost-user-fs-pci,chardev=root,tag=root", "-device", "virtio-rng-pci"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
    // AppArmor only where it is compared with: it has a part in every system call that the others have one in.
    let modules = if clock == Clock::Instructions { "landlock,apparmor,bpf" } else { "landlock,bpf" };
    command.arg("-append");
    command.arg(format!("console=ttyS0 quiet panic=-1 cryptomgr.notests=1 lsm={modules}"));
    command
}

/// Lines that show the workspace where the guest's own temporary directory covers it. The root must not stay at a second
/// place: attributes may only be changed where every path of a file allows it.
fn uncovered(workspace: &Path) -> String {
    if !workspace.starts_with("/tmp") {
        return String::new();
    }
    let at = format!("'{}'", workspace.display());
    format!(
        "mkdir -p /run/covered {at} && mount --bind / /run/covered && mount --bind /run/covered{at} {at} && \
         umount /run/covered || exit\n"
    )
}

/// Boots `kernel` and runs `script` with bash as root. Lines go to standard output as they come, with a prefix.
pub(crate) fn run(kernel: &Kernel, script: &str, limit: Duration, clock: Clock) -> Result<Outcome> {
    let start = Instant::now();
    let dir = TempDir::new(kernel.short)?;
    let initramfs = dir.0.join("initramfs");
    std::fs::write(&initramfs, initramfs::build(kernel, &(uncovered(&crate::root()) + script))?)?;
    let socket = dir.0.join("root.sock");
    let _root = share_root(&socket)?;
    let mut machine = Owned::spawn(
        qemu(kernel, &initramfs, &socket, clock)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit()),
    )?;
    let console = machine.0.stdout.take().context("the console is not piped")?;
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let mut output = String::new();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        let Ok(line) = lines.recv_timeout(left) else {
            bail!("{}: no result within {limit:?} (or the machine died)\n{output}", kernel.release);
        };
        if let Some(status) = line.strip_prefix(EXIT_MARK) {
            let status = status.trim().parse().context("exit status of the guest")?;
            return Ok(Outcome { status, output, elapsed: start.elapsed() });
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "[{}] {line}", kernel.short)?;
        output.push_str(&line);
        output.push('\n');
    }
}

/// A directory that is removed with its owner.
struct TempDir(PathBuf);

impl TempDir {
    fn new(kernel: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("agentguard-vm-{}-{kernel}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // a leftover in the temporary directory harms nobody
    }
}
