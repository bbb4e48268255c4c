//! A daemon under test, and proof that nothing of it is left afterwards.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::level::deadline;
use crate::process::{Capture, Finished, Owned};
use crate::site::Site;
use crate::tail;

/// A daemon with its own socket and event log.
#[derive(Debug)]
pub struct Daemon {
    process: Owned,
    capture: Capture,
}

impl Daemon {
    /// Starts a daemon at `level` and waits until it accepts.
    ///
    /// # Panics
    /// If it does not, with what it says.
    pub(crate) fn start(site: &Site, level: &str) -> Self {
        Self::start_as(site.agentguard(), site, level)
    }

    /// The same with a command line of one's own so far.
    pub(crate) fn start_as(mut command: Command, site: &Site, level: &str) -> Self {
        let capture = Capture::new(&site.path("output"), &mut command);
        let (ready, writer) = std::io::pipe().expect("pipe");
        let fd = writer.as_raw_fd();
        command.args(["daemon", "--level", level, "--ready-fd", &fd.to_string()]);
        keep_across_exec(&mut command, fd);
        let mut process = Owned::spawn(&mut command);
        drop(writer);
        if !told(ready) {
            panic!("no daemon: {}\n{}", process.wait(), Finished::new(ExitStatus::default(), &capture));
        }
        Self { process, capture }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Waits until the daemon has said something with `text` in it, on its standard error.
    pub fn until_said(&self, text: &str) {
        tail::until(&self.capture.stderr, text, |said| said.contains(text).then_some(()));
    }

    /// What the daemon holds in the kernel.
    #[must_use]
    pub fn kernel_objects(&self) -> KernelObjects {
        KernelObjects::of(self.pid())
    }

    /// Ends the daemon with `signal`, and checks that it ends well and that nothing is left.
    ///
    /// # Panics
    /// If anything is.
    pub fn stop(mut self, site: &Site, signal: i32) {
        let held = self.kernel_objects();
        assert!(!held.is_empty(), "the daemon holds no kernel objects");
        self.process.signal(signal);
        let status = self.process.wait();
        assert!(status.success(), "the daemon: {status}\n{}", Finished::new(status, &self.capture));
        held.await_gone();
        assert_nothing_left(site);
    }

    /// Ends the daemon with `signal`, and checks that it ends well. What it enforces is left.
    ///
    /// # Panics
    /// If it does not end well.
    pub fn end(mut self, signal: i32) {
        self.process.signal(signal);
        let status = self.process.wait();
        assert!(status.success(), "the daemon: {status}\n{}", Finished::new(status, &self.capture));
    }

    /// Kills the daemon.
    pub fn kill(mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.wait();
    }
}

fn keep_across_exec(command: &mut Command, fd: i32) {
    // SAFETY: fcntl is async-signal-safe, and the parent holds the fd until after the spawn.
    unsafe {
        command.pre_exec(move || {
            if libc::fcntl(fd, libc::F_SETFD, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Whether the daemon wrote its byte before the deadline and before it ended.
fn told(mut ready: std::io::PipeReader) -> bool {
    let timeout = PollTimeout::try_from(deadline()).unwrap_or(PollTimeout::MAX);
    let readable = poll(&mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)], timeout);
    readable == Ok(1) && ready.read(&mut [0]).is_ok_and(|n| n == 1)
}

/// Kinds of kernel objects: name in `fdinfo`, and the command of `bpf(2)` that opens one by id.
const KINDS: [(&str, i64); 4] = [("prog_id", 13), ("map_id", 14), ("btf_id", 19), ("link_id", 30)];

/// BPF programs, maps, types and links, by id. Ids are not used again before they wrap at 2^31.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelObjects(BTreeSet<(usize, u32)>);

impl KernelObjects {
    /// What process `pid` holds.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
        let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        Self(texts.flat_map(|text| text.lines().filter_map(object).collect::<Vec<_>>()).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until the kernel has freed them all, which it does a little after the last user is gone.
    ///
    /// # Panics
    /// After the deadline, with what is left.
    pub fn await_gone(&self) {
        let give_up = Instant::now() + deadline();
        for (kind, id) in &self.0 {
            while exists(*kind, *id) {
                let left = || self.0.iter().filter(|(kind, id)| exists(*kind, *id)).collect::<Vec<_>>();
                assert!(Instant::now() < give_up, "left in the kernel: {:?} of {KINDS:?}", left());
                std::thread::sleep(Duration::from_millis(5)); // the kernel tells nobody when it frees them
            }
        }
    }
}

fn object(line: &str) -> Option<(usize, u32)> {
    let (name, id) = line.split_once(":\t")?;
    let kind = KINDS.iter().position(|(n, _)| *n == name)?;
    Some((kind, id.trim().parse().ok()?))
}

fn exists(kind: usize, id: u32) -> bool {
    /// `struct { __u32 id; __u32 next_id; __u32 open_flags; }` of `union bpf_attr`.
    type ById = [u32; 3];
    let attributes: ById = [id, 0, 0];
    let (_, command) = KINDS[kind];
    // SAFETY: the kernel reads the attributes, which live across the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attributes, size_of::<ById>()) };
    if fd >= 0 {
        // SAFETY: a fresh fd that nothing else owns.
        unsafe { libc::close(i32::try_from(fd).expect("a file descriptor")) };
    }
    fd >= 0
}

/// Checks that neither the daemon nor its agents left files, mounts, cgroups, pins or processes.
///
/// # Panics
/// If something is left.
pub fn assert_nothing_left(site: &Site) {
    assert!(!site.socket().exists(), "the control socket is left");
    let home = site.at("");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(&home) && !mounts.contains("agentguard-mask"), "mounts are left:\n{mounts}");
    let users = processes_of(&home);
    assert!(users.is_empty(), "processes are left: {users:?}");
    assert!(!site.pins().exists(), "left in {}", site.pins().display());
    let ours = entries(Path::new("/sys/fs/cgroup"), 3).find(|name| name.contains("agentguard"));
    assert_eq!(ours, None, "left in /sys/fs/cgroup");
}

/// Processes whose command line or current directory is in `directory`.
#[must_use]
pub fn processes_of(directory: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok());
    let used = pids.filter_map(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        (command.contains(directory) || cwd.starts_with(directory))
            .then(|| format!("{}: {command}", entry.path().display()))
    });
    used.collect()
}

/// Names of what is in a directory, `depth` levels deep.
fn entries(directory: &Path, depth: u32) -> Box<dyn Iterator<Item = String>> {
    let here = std::fs::read_dir(directory).into_iter().flatten().flatten();
    Box::new(here.flat_map(move |entry| {
        let directory = entry.file_type().is_ok_and(|t| t.is_dir()) && depth > 1;
        let below = if directory { entries(&entry.path(), depth - 1) } else { Box::new(std::iter::empty()) };
        std::iter::once(entry.file_name().to_string_lossy().into_owned()).chain(below)
    }))
}
