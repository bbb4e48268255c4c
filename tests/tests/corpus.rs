//! Every attack of the corpus: it succeeds without AgentGuard, and an agent that makes it is refused, with a record.

#[path = "corpus/stage.rs"]
mod stage;
#[path = "corpus/terminal.rs"]
mod terminal;

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;
use std::sync::{Mutex, RwLock};

use agentguard_corpus::{Attack, Compat, Group, Recorded, Who, attacks};
use agentguard_tests::daemon::Daemon;
use agentguard_tests::events::Log;
use agentguard_tests::process::Finished;
use agentguard_tests::{Level, Site};
use nix::unistd::User;

use stage::{Stage, Theatre};

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
    Refused {
        errno: i32,
        step: String,
    },
    Absent(String),
    Killed,
    /// It told nothing, and nobody killed it.
    Broken,
}

impl End {
    fn of(run: &Finished) -> Self {
        let line = run.stdout.lines().last().unwrap_or_default();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            // A crash is the attack's own mistake, not a refusal.
            _ if run.status.signal() == Some(libc::SIGKILL) => Self::Killed,
            _ if !run.status.success() => Self::Broken,
            "succeeded" => Self::Succeeded,
            "absent" => Self::Absent(rest.to_owned()),
            "refused" => {
                let (errno, step) = rest.split_once(' ').unwrap_or((rest, ""));
                Self::Refused { errno: errno.parse().expect("a number"), step: step.to_owned() }
            }
            _ => Self::Broken,
        }
    }

    /// Whether AgentGuard stopped it. What may not move is told `EXDEV`, so that programs copy. At level `compat` denied
    /// files are under a cover, which can't be moved, and hides what is below.
    fn is_refusal_of(&self, attack: &Attack) -> bool {
        let covered = Level::expected() == Level::Compat;
        match self {
            Self::Killed => true,
            Self::Refused { errno: libc::EACCES | libc::EPERM, .. } => true,
            Self::Refused { errno: libc::EXDEV, .. } => attack.group == Group::Moving || covered,
            Self::Refused { errno: libc::EBUSY | libc::EROFS | libc::ENOENT, .. } => covered,
            _ => false,
        }
    }

    /// As the table says it.
    fn cell(&self) -> String {
        match self {
            Self::Succeeded => "succeeds".into(),
            Self::Refused { errno, step } => {
                let name = nix::errno::Errno::from_raw(*errno);
                format!("{name:?} ({step})")
            }
            Self::Absent(what) => format!("absent: {what}"),
            Self::Killed => "killed".into(),
            Self::Broken => "broken".into(),
        }
    }
}

/// Makes one attack both ways. Returns its cell of the table, or what is wrong.
fn try_attack(theatre: &Theatre, stage: &mut Option<Stage>, attack: &Attack) -> Result<String, String> {
    let attacker = theatre.attacker;
    let bare = theatre.set(stage);
    let [program, rest @ ..] = bare.arguments(attack);
    let mut command = Command::new(program);
    command.args(rest).current_dir(&bare.scene.workspace).uid(attacker.uid).gid(attacker.gid);
    let run = terminal::finish(theatre.site, &mut command);
    match End::of(&run) {
        End::Succeeded => {}
        absent @ End::Absent(_) => return Ok(absent.cell()),
        other => return Err(format!("without AgentGuard it does not succeed: {other:?}\n{run}")),
    }

    let stage = theatre.set(stage);
    let degraded: &[&str] = if Level::expected() == Level::Compat { &["--allow-degraded"] } else { &[] };
    let workspace = stage.scene.workspace.to_str().expect("UTF-8");
    let options = ["--user", attacker.name, "--workspace", workspace];
    let agent = theatre.site.agent(&stage.policy).options(&options).options(degraded);
    let mut command = agent.command(stage.arguments(attack));
    command.current_dir(workspace);
    let log = theatre.site.log().from_here();
    let run = terminal::finish(theatre.site, &mut command);
    let end = End::of(&run);
    match (Level::expected(), attack.compat) {
        (Level::Lsm, _) => recorded(&log, attack, &run, &end)?,
        (_, Compat::Stopped) if !end.is_refusal_of(attack) => {
            return Err(format!("not refused: {end:?}\n{run}"));
        }
        (_, Compat::Open(_)) if end != End::Succeeded => {
            return Err(format!("it is said to go through, and ended as {end:?}\n{run}"));
        }
        _ => {}
    }
    Ok(end.cell())
}

/// Level `lsm`: refused by AgentGuard, and recorded.
fn recorded(log: &Log, attack: &Attack, run: &Finished, end: &End) -> Result<(), String> {
    let events = log.until_end(&run.invocation());
    let denials: Vec<_> = events.iter().filter(|e| e.is_denial()).collect();
    let all: Vec<_> = denials.iter().map(ToString::to_string).collect();
    let all = all.join("\n");
    if !end.is_refusal_of(attack) {
        return Err(format!("not refused: {end:?}\ndenials:\n{all}\n{run}"));
    }
    let Recorded::As(actions) = attack.recorded else { return Ok(()) };
    if denials.iter().any(|e| actions.contains(&e.text("/action"))) {
        return Ok(());
    }
    Err(format!("no denial of {actions:?} among\n{all}\n{run}"))
}

/// Makes attacks until none is left to make. Returns what is wrong.
fn work(
    site: &Site,
    daemon: &Daemon,
    left: &Mutex<impl Iterator<Item = (&'static Attack, Attacker)>>,
) -> Vec<String> {
    /// What is done to the daemon's own files, if only for a moment, must not meet another attack's agent.
    static ALONE: RwLock<()> = RwLock::new(());
    let mut stages: HashMap<u32, Option<Stage>> = HashMap::new();
    let mut wrong = Vec::new();
    loop {
        let next = left.lock().expect("nobody panicked").next();
        let Some((attack, attacker)) = next else { return wrong };
        let alone = attack.group == Group::Protection;
        let _alone = alone.then(|| ALONE.write().expect("nobody panicked"));
        let _together = (!alone).then(|| ALONE.read().expect("nobody panicked"));
        let theatre = Theatre { site, daemon, attacker };
        let came_of = try_attack(&theatre, stages.entry(attacker.uid).or_default(), attack);
        let cell = came_of
            .as_ref()
            .map_or_else(|why| format!("WRONG: {}", why.lines().next().unwrap_or_default()), String::clone);
        let line = format!("ATTACK\t{}\t{}\t{cell}\n", attack.name, attacker.name);
        let _ = std::io::stdout().write_all(line.as_bytes()); // for the table; the test stands without
        if let Err(why) = came_of {
            wrong.push(format!("=== {} as {}: {}\n{why}", attack.name, attacker.name, attack.tries));
        }
    }
}

/// One daemon for all: loading its programs takes a guest as long as a dozen attacks, and two would check everything
/// twice.
#[test]
fn attacks_are_refused_to_root_and_to_an_ordinary_user() {
    let site = Site::new();
    let daemon = site.daemon();
    let attackers = ["root", "nobody"].map(Attacker::named);
    // Parts of names, between commas; by default all.
    let only = std::env::var("CORPUS_ONLY").unwrap_or_default();
    let chosen = attacks::ALL.iter().filter(|a| only.split(',').any(|part| a.name.contains(part)));
    let pairs = chosen.flat_map(|a| attackers.map(|who| (*a, who)));
    let left = Mutex::new(pairs.filter(|(a, who)| a.who == Who::Anyone || who.uid == 0));
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let wrong: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(|| work(&site, &daemon, &left))).collect();
        started.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(wrong.is_empty(), "{} attacks:\n{}", wrong.len(), wrong.join("\n"));
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
