//! A place for one test: directories, the control socket, the event log.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::agent::Agent;
use crate::daemon::Daemon;
use crate::events::Log;
use crate::level::Level;
use crate::policy::Policy;
use crate::process::Finished;

/// Where the shipped policies allow nothing by themselves; `/tmp` is open to agents.
const PARENT: &str = "/var/tmp";
/// The event log in a home.
const EVENTS: &str = "events.jsonl";
/// The BPF file system.
const PINS: &str = "/sys/fs/bpf";

/// Directories of one test, deleted with it.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    /// Where the control socket and the event log are.
    home: PathBuf,
    /// How long the event log was when the test began.
    log_start: u64,
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.home == self.dir.path() {
            self.unpin(); // a test that failed, or killed its daemon
        }
    }
}

/// Names the home of a daemon that [`Site::served`] sites of several programs share (`agentguard-served`).
pub const SERVED: &str = "AGENTGUARD_SERVED";

/// The daemon that [`Site::served`] sites of one program share.
static SHARED: Mutex<Option<(Site, Daemon)>> = Mutex::new(None);

/// The home of the daemon that the sites of this program share, which the first of them starts.
fn shared_home() -> PathBuf {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let (server, _) = shared.get_or_insert_with(|| {
        let site = Site::new();
        let daemon = site.daemon();
        // SAFETY: registers a function without arguments that lives as long as the program.
        let registered = unsafe { libc::atexit(stop_shared) };
        assert_eq!(registered, 0, "atexit");
        (site, daemon)
    });
    server.home.clone()
}

/// Runs after the last test. A panic ends the program with a signal, which whoever runs the tests sees.
extern "C" fn stop_shared() {
    if let Some((site, daemon)) = SHARED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        daemon.stop(&site, libc::SIGTERM);
    }
}

/// The binary under test.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn binary() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/release/agentguard");
    let binary = std::env::var_os("AGENTGUARD_BIN").map_or_else(built, PathBuf::from);
    assert!(binary.is_file(), "{}: not built; hint: cargo xtask build", binary.display());
    binary
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// Makes `workspace/`, `home/` and `outside/`, which every user may enter and write.
    ///
    /// # Panics
    /// If the tests do not run as root.
    #[must_use]
    pub fn new() -> Self {
        Self::within(Path::new(PARENT))
    }

    /// The same in another directory.
    ///
    /// # Panics
    /// If the tests do not run as root.
    #[must_use]
    pub fn within(parent: &Path) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the integration tests need root");
        let dir = tempfile::Builder::new().prefix("agentguard-test-").tempdir_in(parent);
        let dir = dir.expect("a temporary directory");
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        };
        open(dir.path(), 0o755);
        for name in ["workspace", "home", "outside", "output"] {
            std::fs::create_dir(dir.path().join(name)).expect("mkdir");
            open(&dir.path().join(name), 0o777);
        }
        Self { home: dir.path().to_owned(), dir, log_start: 0 }
    }

    /// A site of its own whose control socket and event log are those of one daemon for all such tests, of the program or
    /// of all programs that `agentguard-served` runs: loading its programs takes a guest many seconds. Whatever it records
    /// is known by invocation.
    ///
    /// # Panics
    /// If the daemon does not start.
    #[must_use]
    pub fn served() -> Self {
        let home = std::env::var_os(SERVED).map_or_else(shared_home, PathBuf::from);
        let log_start = std::fs::metadata(home.join(EVENTS)).map_or(0, |data| data.len());
        let mut site = Self::new();
        (site.home, site.log_start) = (home, log_start);
        site
    }

    /// A path below the site.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// The same as text.
    #[must_use]
    pub fn at(&self, relative: &str) -> String {
        self.path(relative).into_os_string().into_string().expect("the site's path is UTF-8")
    }

    /// Writes a file that everybody may read, with its directories. Returns its path.
    pub fn file(&self, relative: &str, text: &str) -> String {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("below the site")).expect("mkdir");
        std::fs::write(&path, text).expect("write");
        self.at(relative)
    }

    /// Writes a policy whose rules are `files` after those that let programs start, and `rest` of its `spec`.
    #[must_use]
    pub fn policy(&self, name: &str, files: &str, rest: &str) -> Policy {
        Policy::write(&self.path(&format!("{name}.yaml")), name, files, rest)
    }

    /// The event log from where the test began.
    #[must_use]
    pub fn log(&self) -> Log {
        Log::new(self.event_log(), self.log_start)
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.join("control.sock")
    }

    #[must_use]
    pub fn event_log(&self) -> PathBuf {
        self.home.join(EVENTS)
    }

    /// The daemon's database.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.home.join("state.db")
    }

    /// Where the daemon pins what outlives it.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        Self::pins_of(&self.home)
    }

    /// The directory of those of the level at hand.
    #[must_use]
    pub fn pins_at_level(&self) -> PathBuf {
        self.pins().join(format!("v2-{}", Level::expected().name()))
    }

    /// Whether a program of the kernel plane is attached at the moment.
    #[must_use]
    pub fn attached(&self, program: &str) -> bool {
        let sets = std::fs::read_dir(self.pins_at_level()).expect("pins").flatten();
        sets.into_iter().any(|set| set.path().join(program).exists())
    }

    /// Waits until nothing is attached that the host pays for, as a while after the last invocation is over.
    pub fn until_quiet(&self) {
        let give_up = std::time::Instant::now() + crate::level::deadline();
        let hot = match crate::Level::expected() {
            crate::Level::Lsm => ["file_open", "open_permission"],
            crate::Level::Compat => ["cgroup_egress", "cgroup_ingress"],
        };
        while hot.iter().any(|program| self.attached(program)) {
            assert!(std::time::Instant::now() < give_up, "it stays attached");
            std::thread::sleep(std::time::Duration::from_millis(1)); // the daemon tells nobody
        }
    }

    fn pins_of(home: &Path) -> PathBuf {
        Path::new(PINS).join(home.file_name().unwrap_or_default())
    }

    /// Detaches and removes what a daemon that was killed has left.
    pub fn unpin(&self) {
        Self::unpin_of(&self.home);
    }

    fn unpin_of(home: &Path) {
        let pins = Self::pins_of(home);
        if let Err(e) = std::fs::remove_dir_all(&pins) {
            assert_eq!(e.kind(), std::io::ErrorKind::NotFound, "{}: {e}", pins.display());
        }
    }

    /// The same for all sites within `parent`, whose processes were killed.
    ///
    /// # Panics
    /// If something stays.
    pub fn unpin_within(parent: &Path) {
        let sites = std::fs::read_dir(parent).into_iter().flatten().flatten();
        sites.for_each(|site| Self::unpin_of(&site.path()));
    }

    /// `agentguard` with this site's socket and log.
    #[must_use]
    pub fn agentguard(&self) -> Command {
        self.agentguard_of(&binary())
    }

    fn agentguard_of(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command.arg("--socket").arg(self.socket()).arg("--event-log").arg(self.event_log());
        command.arg("--state").arg(self.state()).arg("--pins").arg(self.pins());
        command.current_dir(self.path("workspace"));
        command
    }

    /// Runs `agentguard` with `arguments` to its end.
    #[must_use]
    pub fn call(&self, arguments: &[&str]) -> Finished {
        self.finish(self.agentguard().args(arguments))
    }

    /// Runs a command to its end.
    #[must_use]
    pub fn finish(&self, command: &mut Command) -> Finished {
        Finished::of(&self.path("output"), command)
    }

    /// Starts a daemon at the level under test and waits until it accepts.
    #[must_use]
    pub fn daemon(&self) -> Daemon {
        Daemon::start(self, Level::expected().name())
    }

    /// Starts a daemon at the best level, which must be the one under test, and which it can give reasons for.
    #[must_use]
    pub fn daemon_at_best(&self) -> Daemon {
        Daemon::start(self, "auto")
    }

    /// Starts a daemon of another build.
    #[must_use]
    pub fn daemon_of(&self, binary: &Path) -> Daemon {
        Daemon::start_as(self.agentguard_of(binary), self, Level::expected().name())
    }

    /// An agent under `policy`: a file or a shipped name.
    #[must_use]
    pub fn agent(&self, policy: impl AsRef<std::ffi::OsStr>) -> Agent<'_> {
        Agent::new(self, policy.as_ref())
    }
}
