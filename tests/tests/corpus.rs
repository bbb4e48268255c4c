//! Every attack of the corpus: it succeeds without AgentGuard, and an agent that makes it is refused, with a record.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agentguard_corpus::scene::Guard;
use agentguard_corpus::{Attack, Compat, Recorded, Scene, Who, attacks, scene};
use agentguard_tests::daemon::Daemon;
use agentguard_tests::process::{Finished, Owned};
use agentguard_tests::{Level, Policy, Site};
use nix::unistd::User;

const PROGRAM: &str = env!("CARGO_BIN_EXE_agentguard-corpus");

/// Whom an attack is made as.
#[derive(Clone, Copy)]
struct Attacker {
    name: &'static str,
    uid: u32,
    gid: u32,
}

impl Attacker {
    fn named(name: &'static str) -> Self {
        let user = User::from_name(name).expect("the user database").expect("a user of every system");
        Self { name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }
    }
}

/// What came of an attack.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Succeeded,
    Refused { errno: i32, step: String },
    Absent(String),
    Killed,
}

impl End {
    fn of(run: &Finished) -> Self {
        let line = run.stdout.lines().last().unwrap_or_default();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "succeeded" => Self::Succeeded,
            "absent" => Self::Absent(rest.to_owned()),
            "refused" => {
                let (errno, step) = rest.split_once(' ').unwrap_or((rest, ""));
                Self::Refused { errno: errno.parse().expect("a number"), step: step.to_owned() }
            }
            _ => Self::Killed,
        }
    }

    /// As the table says it.
    fn cell(&self) -> String {
        match self {
            Self::Succeeded => "succeeds".into(),
            Self::Refused { errno, .. } => {
                let name = nix::errno::Errno::from_raw(*errno);
                format!("{name:?}")
            }
            Self::Absent(_) => "absent".into(),
            Self::Killed => "killed".into(),
        }
    }
}

/// A fresh scene with its victim, who leaves when this is dropped.
struct Stage {
    scene: Scene,
    described: PathBuf,
    _victim: Owned,
}

impl Stage {
    fn new(site: &Site, daemon: &Daemon, name: &str, attacker: Attacker) -> Self {
        let root = site.path(name);
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        };
        for directory in ["", "workspace", "workspace/tmp", "workspace/private", "outside", "readable"] {
            let path = root.join(directory);
            std::fs::create_dir(&path).expect("mkdir");
            std::os::unix::fs::chown(&path, Some(attacker.uid), Some(attacker.gid)).expect("chown");
            mode(&path, 0o777);
        }
        let file = |relative: &str, text: &str| {
            let path = root.join(relative);
            std::fs::write(&path, text).expect("write");
            std::os::unix::fs::chown(&path, Some(attacker.uid), Some(attacker.gid)).expect("chown");
            mode(&path, 0o666);
            path
        };
        let secret = file("outside/secret", scene::SECRET);
        let denied = file("workspace/private/.env", scene::SECRET);
        file("readable/text", "text\n");
        let program = root.join("outside/program");
        std::fs::copy("/usr/bin/id", &program).expect("copy");
        mode(&program, 0o755);
        let mut command = Command::new(PROGRAM);
        command.arg("victim").arg(&root).uid(attacker.uid).gid(attacker.gid);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Owned::spawn(&mut command);
        let mut line = String::new();
        let out = process.child().stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("the victim speaks");
        let victim = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        let scene = Scene {
            workspace: root.join("workspace"),
            outside: root.join("outside"),
            secret,
            denied,
            readable: root.join("readable"),
            program,
            this: PathBuf::from(PROGRAM),
            victim,
            guard: Guard {
                daemon: daemon.pid().cast_signed(),
                image: image_of(daemon.pid()),
                control: site.socket(),
                event_log: site.path("events.jsonl"),
            },
        };
        let described = root.join("readable/scene.json");
        std::fs::write(&described, serde_json::to_vec(&scene).expect("JSON")).expect("write");
        Self { scene, described, _victim: process }
    }

    fn arguments(&self, attack: &Attack) -> [String; 4] {
        let described = self.described.to_str().expect("UTF-8").to_owned();
        [PROGRAM.into(), "attack".into(), attack.name.into(), described]
    }

    fn policy(&self, site: &Site) -> Policy {
        let Scene { workspace, readable, this, victim, .. } = &self.scene;
        let files = format!(
            r#"
    - allow: [read, write, create, delete, connect]
      paths: ["{}/**"]
    - deny: all
      paths: ["**/.env", "/dev/shm/**"]
    - allow: [read]
      paths: ["{}/**"]
    - allow: [read, exec]
      paths: ["{}"]
"#,
            workspace.display(),
            readable.display(),
            this.display()
        );
        let rest = format!(
            "  network:\n    - allow: [connect]\n      to: [127.0.0.1]\n      ports: [{}]\n",
            victim.tcp_allowed
        );
        site.policy("corpus", &files, &rest)
    }
}

/// Where a process has its program mapped: first of all.
fn image_of(pid: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("what it has mapped");
    let start = maps.split('-').next().expect("a range");
    usize::from_str_radix(start, 16).expect("an address")
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.scene.victim.shared); // an attack may have
    }
}

/// Makes one attack both ways. Returns its cell of the table, or what is wrong.
fn try_attack(site: &Site, daemon: &Daemon, attack: &Attack, attacker: Attacker) -> Result<String, String> {
    if attack.who == Who::Root && attacker.uid != 0 {
        return Ok("root only".into());
    }
    let bare = Stage::new(site, daemon, &format!("{}-bare", attack.name), attacker);
    let [program, rest @ ..] = bare.arguments(attack);
    let mut command = Command::new(program);
    command.args(rest).current_dir(&bare.scene.workspace).uid(attacker.uid).gid(attacker.gid);
    let run = site.finish(&mut command);
    match End::of(&run) {
        End::Succeeded => {}
        absent @ End::Absent(_) => return Ok(absent.cell()),
        other => return Err(format!("without AgentGuard it does not succeed: {other:?}\n{run}")),
    }
    drop(bare);

    let stage = Stage::new(site, daemon, attack.name, attacker);
    let policy = stage.policy(site);
    let degraded: &[&str] = if Level::expected() == Level::Compat { &["--allow-degraded"] } else { &[] };
    let workspace = stage.scene.workspace.to_str().expect("UTF-8");
    let options = ["--user", attacker.name, "--workspace", workspace];
    let agent = site.agent(&policy).options(&options).options(degraded);
    let mut command = agent.command(stage.arguments(attack));
    command.current_dir(workspace);
    let run = site.finish(&mut command);
    let end = End::of(&run);
    match Level::expected() {
        Level::Lsm => recorded(site, attack, &run, &end)?,
        Level::Compat => match (attack.compat, &end) {
            (Compat::Stopped, End::Succeeded) => return Err(format!("it succeeds\n{run}")),
            (Compat::Open(_), End::Refused { .. } | End::Killed) => {
                return Err(format!("it is said to go through, and ended as {end:?}\n{run}"));
            }
            _ => {}
        },
    }
    Ok(end.cell())
}

/// Level `lsm`: refused by AgentGuard, and recorded.
fn recorded(site: &Site, attack: &Attack, run: &Finished, end: &End) -> Result<(), String> {
    let refused = matches!(end, End::Refused { errno: libc::EACCES | libc::EPERM, .. } | End::Killed);
    if !refused {
        return Err(format!("{end:?}\n{run}"));
    }
    let Recorded::As(actions) = attack.recorded else { return Ok(()) };
    let events = site.log().until_end(&run.invocation());
    let denials: Vec<_> = events.iter().filter(|e| e.is_denial()).collect();
    if denials.iter().any(|e| actions.contains(&e.text("/action"))) {
        return Ok(());
    }
    let all: Vec<_> = denials.iter().map(ToString::to_string).collect();
    Err(format!("no denial of {actions:?} among\n{}\n{run}", all.join("\n")))
}

fn make_all(user: &'static str) {
    let site = Site::new();
    let daemon = site.daemon();
    let attacker = Attacker::named(user);
    let only = std::env::var("CORPUS_ONLY").unwrap_or_default();
    let mut wrong = Vec::new();
    for attack in attacks::ALL.iter().filter(|a| a.name.contains(&only)) {
        let came_of = try_attack(&site, &daemon, attack, attacker);
        let cell = came_of.as_ref().map_or("WRONG", String::as_str);
        let line = format!("ATTACK\t{}\t{user}\t{cell}\n", attack.name);
        let _ = std::io::stdout().write_all(line.as_bytes()); // for the table; the test stands without
        if let Err(why) = came_of {
            wrong.push(format!("=== {} as {user}: {}\n{why}", attack.name, attack.tries));
        }
    }
    assert!(wrong.is_empty(), "{} attacks:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn attacks_by_root_are_refused() {
    make_all("root");
}

#[test]
fn attacks_by_an_ordinary_user_are_refused() {
    make_all("nobody");
}

#[test]
fn names_are_unique_and_said_in_words() {
    let mut names: Vec<_> = attacks::ALL.iter().map(|a| a.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), attacks::ALL.len(), "two attacks have one name");
    for attack in attacks::ALL {
        assert!(!attack.tries.is_empty() && !attack.tries.ends_with('.'), "{}", attack.name);
        if let Compat::Open(why) | Compat::Depends(why) = attack.compat {
            assert!(!why.is_empty(), "{}", attack.name);
        }
        if let Recorded::Not(why) = attack.recorded {
            assert!(!why.is_empty(), "{}", attack.name);
        }
    }
}
