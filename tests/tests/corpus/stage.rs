//! Scenes for attacks: set when an attack has changed the last one, and kept when it has not.

use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use agentguard_corpus::scene::{Guard, NOWHERE, SECRET, Victim};
use agentguard_corpus::sys::attributes::{self, ACCESS_LIST};
use agentguard_corpus::{Attack, Scene};
use agentguard_tests::daemon::Daemon;
use agentguard_tests::process::Owned;
use agentguard_tests::{Policy, Site};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::{Attacker, PROGRAM};

/// Of each scene.
const DIRECTORIES: [&str; 10] = [
    "",
    "workspace",
    "workspace/tmp",
    "workspace/private",
    "workspace/kept",
    "workspace/kept/inside",
    "outside",
    "outside/empty",
    "readable",
    "readable/library",
];

/// Where stages are set, and for whom.
pub(crate) struct Theatre<'t> {
    pub(crate) site: &'t Site,
    pub(crate) daemon: &'t Daemon,
    pub(crate) attacker: Attacker,
}

/// A scene with its victim, who leaves when this is dropped.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    pub(crate) policy: Policy,
    described: PathBuf,
    root: PathBuf,
    /// How everything was when the scene was set.
    set: Option<Look>,
    _inherited: OwnedFd,
    _victim: Owned,
}

impl Theatre<'_> {
    /// The stage as it is, if nothing has changed on it, otherwise a new one.
    pub(crate) fn set<'s>(&self, stage: &'s mut Option<Stage>) -> &'s Stage {
        if !stage.as_ref().is_some_and(Stage::is_untouched) {
            *stage = None; // the old victim leaves first
        }
        stage.get_or_insert_with(|| self.build())
    }

    fn build(&self) -> Stage {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("stage-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let root = self.site.path(&name);
        for directory in DIRECTORIES {
            let path = root.join(directory);
            std::fs::create_dir(&path).expect("mkdir");
            self.hand_over(&path, 0o777);
        }
        let file = |relative: &str, text: &str| {
            let path = root.join(relative);
            std::fs::write(&path, text).expect("write");
            self.hand_over(&path, 0o666);
            path
        };
        let secret = file("outside/secret", SECRET);
        // Not every file system can.
        let _ = attributes::set(&secret, c"user.corpus", SECRET.as_bytes());
        let _ = attributes::set(&root.join("outside/empty"), ACCESS_LIST, &attributes::access_list());
        let denied = file("workspace/private/.env", SECRET);
        file("workspace/kept/inside/key", SECRET);
        file("readable/text", "text\n");
        file("readable/library/text", "text\n");
        let program = root.join("outside/program");
        std::fs::copy("/usr/bin/id", &program).expect("copy");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("chmod");
        let (process, victim) = self.victim(&root);
        // Not close-on-exec: what is started next inherits it.
        let inherited = nix::fcntl::open(&secret, OFlag::O_RDWR, Mode::empty()).expect("the secret");
        let scene = Scene {
            workspace: root.join("workspace"),
            outside: root.join("outside"),
            secret,
            inherited: inherited.as_raw_fd(),
            denied,
            kept: root.join("workspace/kept"),
            readable: root.join("readable"),
            program,
            this: PathBuf::from(PROGRAM),
            victim,
            guard: Guard {
                daemon: self.daemon.pid().cast_signed(),
                image: image_of(self.daemon.pid()),
                control: self.site.socket(),
                event_log: self.site.path("events.jsonl"),
            },
        };
        let described = root.join("readable/scene.json");
        std::fs::write(&described, serde_json::to_vec(&scene).expect("JSON")).expect("write");
        let policy = policy(self.site, &name, &scene);
        let mut stage =
            Stage { scene, policy, described, root, set: None, _inherited: inherited, _victim: process };
        stage.set = stage.look();
        stage
    }

    fn hand_over(&self, path: &Path, mode: u32) {
        chown(path, Some(self.attacker.uid), Some(self.attacker.gid)).expect("chown");
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
    }

    fn victim(&self, root: &Path) -> (Owned, Victim) {
        let mut command = Command::new(PROGRAM);
        command.arg("victim").arg(root).uid(self.attacker.uid).gid(self.attacker.gid);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Owned::spawn(&mut command);
        let mut line = String::new();
        let out = process.child().stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("the victim speaks");
        let victim = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        (process, victim)
    }
}

impl Stage {
    pub(crate) fn arguments(&self, attack: &Attack) -> [String; 4] {
        let described = self.described.to_str().expect("UTF-8").to_owned();
        [PROGRAM.into(), "attack".into(), attack.name.into(), described]
    }

    fn is_untouched(&self) -> bool {
        self.set.is_some() && self.look() == self.set
    }

    /// Nothing if something is missing.
    fn look(&self) -> Option<Look> {
        let mut files = Vec::new();
        if !self.scene.victim.has_queue() {
            return None;
        }
        list(&self.root, &mut files)?;
        list(&self.scene.victim.shared, &mut files)?;
        files.sort();
        Some(Look { files, victim: state_of(self.scene.victim.pid)? })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.scene.victim.clear_away();
    }
}

/// What an attack may have changed.
#[derive(PartialEq, Eq)]
struct Look {
    files: Vec<File>,
    victim: Vec<String>,
}

/// A file or directory. The kernel changes the last, the time of change in seconds and nanoseconds, with whatever
/// changes: content, entries, owner, mode, attributes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct File {
    path: PathBuf,
    inode: (u64, u64),
    changed: (i64, i64),
}

/// Adds `path` and everything below it. Holds one directory open at a time: an attack makes more of them inside each other
/// than a process may have files, and the other worker would find none left.
fn list(path: &Path, files: &mut Vec<File>) -> Option<()> {
    let data = path.symlink_metadata().ok()?;
    let changed = (data.ctime(), data.ctime_nsec());
    files.push(File { path: path.to_owned(), inode: (data.dev(), data.ino()), changed });
    if data.is_dir() {
        // Paths, not entries, each of which holds its directory open.
        let entries: Vec<_> = std::fs::read_dir(path).ok()?.map(|entry| Some(entry.ok()?.path())).collect();
        for entry in entries {
            list(&entry?, files)?;
        }
    }
    Some(())
}

/// Whether a process is stopped or traced, its pending signals, and its limits, processors and control group.
fn state_of(pid: i32) -> Option<Vec<String>> {
    let text = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let status = text("status")?;
    let lines = status.lines().filter(|line| {
        let told = ["TracerPid:", "SigPnd:", "ShdPnd:", "Cpus_allowed:"];
        told.iter().any(|name| line.starts_with(name)) || line.contains("stop") || line.contains("zombie")
    });
    let lines = lines.map(ToOwned::to_owned);
    Some(lines.chain([text("limits")?, text("oom_score_adj")?, text("cgroup")?]).collect())
}

/// What the agent may do: see [`Scene`].
fn policy(site: &Site, name: &str, scene: &Scene) -> Policy {
    let Scene { workspace, readable, kept, this, victim, .. } = scene;
    let files = format!(
        r#"
    - allow: [read, write, create, delete, connect]
      paths: ["{0}/**"]
    - allow: [link]
      paths: ["{0}/tmp/**"]
    - deny: all
      paths: ["**/.env", "/dev/shm/**", "{1}/inside/**"]
    - allow: [read]
      paths: ["{2}/**"]
    - allow: [delete, link]
      paths: ["{2}/library/**"]
    - allow: [read, exec]
      paths: ["{3}"]
"#,
        workspace.display(),
        kept.display(),
        readable.display(),
        this.display()
    );
    let rest = format!(
        "  network:\n    - allow: [connect]\n      to: [127.0.0.1, \"{NOWHERE}\"]\n      ports: [{}]\n",
        victim.tcp_allowed
    );
    site.policy(name, &files, &rest)
}

/// Where a process has its program mapped: first of all.
fn image_of(pid: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("what it has mapped");
    let start = maps.split('-').next().expect("a range");
    usize::from_str_radix(start, 16).expect("an address")
}
