//! The daemon: issues identities, publishes policies, revokes, and turns events into records.

pub mod api;
mod attach;
mod catalogue;
mod explain;
mod guard;
mod kill;
mod ledger;
mod life;
mod news;
pub mod owner;
mod policies;
mod recorder;
pub mod registry;
mod revoke;
pub mod seen;
mod server;
mod start;
mod store;
mod takeover;
mod tools;
mod untraced;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use agentguard_common::event::{DENIALS_RING_BYTES, EVENTS_RING_BYTES};
use agentguard_common::invocation::Tag;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use registry::Registry;
use tokio::sync::{Notify, broadcast, watch};
use uuid::Uuid;

use crate::event::Ring;
use crate::event::record::{Record, When};
use crate::kernel::{Kernel, Level};
use crate::policy::model::FileRule;

/// Where things are, and how long the daemon lives.
#[derive(Clone, Debug)]
pub struct Config {
    pub socket: PathBuf,
    pub events: PathBuf,
    /// The state database.
    pub state: PathBuf,
    /// Directory on the BPF file system for what must outlive the daemon.
    pub pins: PathBuf,
    /// The level to insist on; `None` takes the best.
    pub level: Option<Level>,
    /// End when the last invocation has ended.
    pub ephemeral: bool,
    /// Group whose members administer, beside root.
    pub operators: Option<String>,
}

/// Shared state. Where several are locked: kernel, registry, catalogue, in this order.
pub struct Daemon {
    kernel: Mutex<Kernel>,
    registry: Mutex<Registry>,
    catalogue: Mutex<catalogue::Catalogue>,
    store: store::Store,
    recorder: recorder::Recorder,
    /// News of the database that were given to the recorder.
    told: Mutex<Vec<store::NewsId>>,
    /// States that the database could not be told.
    unkept: Mutex<Vec<(Vec<Uuid>, registry::State)>>,
    /// What the log has of those that are over, until the database knows that they are.
    closing: Mutex<HashMap<Uuid, seen::Seen>>,
    /// Those whose authority was taken, until that is told.
    telling: (Mutex<HashSet<Tag>>, Condvar),
    /// Why not a higher level.
    why: Option<String>,
    level: Level,
    /// Identifies this uptime of the machine.
    boot: String,
    /// Rules of every policy, for the daemon's own files.
    guard: Vec<FileRule>,
    /// Whose members administer, beside root.
    operators: Option<u32>,
    /// How many kills are under way.
    killers: Mutex<usize>,
    /// One policy is pushed at a time.
    pushing: Mutex<()>,
    /// The facts of one invocation are changed at a time, here and in the database.
    changing: Mutex<()>,
    /// Cgroups that invocations have.
    directories: attach::Directories,
    /// Whether the kernel's counts of tasks agree with what lives.
    looks: untraced::Looks,
    /// An invocation ended, or was refused.
    ended: Notify,
    /// The last invocation ended.
    quiet: Notify,
    /// Set once the daemon is to end.
    stopping: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        lock(&self.kernel)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    /// Writes a record of the daemon's own.
    fn note(&self, record: Record<'_>, action: &str) {
        self.note_all([record], action);
    }

    /// Writes records of the daemon's own about one thing that was done.
    fn note_all<'a>(&self, records: impl IntoIterator<Item = Record<'a>>, action: &str) {
        self.recorder.write(&lines(records, action));
    }

    /// Follows the records written from now on.
    fn follow(&self) -> broadcast::Receiver<Bytes> {
        self.recorder.follow()
    }
}

/// The lines of records of the daemon's own about one thing that was done.
fn lines<'a>(records: impl IntoIterator<Item = Record<'a>>, action: &str) -> Vec<u8> {
    let when = When::now();
    let mut lines = Vec::new();
    for mut record in records {
        record.when.clone_from(&when);
        record.what.action = action.to_owned().into();
        if record.what.decision.is_empty() {
            record.what.decision = "allow".into();
        }
        recorder::add(&mut lines, &record);
    }
    lines
}

/// The group of operators, by its name or number. A name that the machine does not know is an error where it was given.
fn group(name: Option<&str>) -> Result<Option<u32>> {
    let Some(name) = name else {
        return Ok(nix::unistd::Group::from_name("agentguard")?.map(|group| group.gid.as_raw()));
    };
    if let Ok(gid) = name.parse() {
        return Ok(Some(gid));
    }
    let group = nix::unistd::Group::from_name(name)?;
    Ok(Some(
        group.with_context(|| format!("no group {name:?}; hint: groupadd --system {name}"))?.gid.as_raw(),
    ))
}

fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(path).context(path)?.trim().to_owned())
}

fn set_up(config: &Config) -> Result<Daemon> {
    if std::os::unix::net::UnixStream::connect(&config.socket).is_ok() {
        anyhow::bail!("{}: another daemon listens there", config.socket.display());
    }
    let operators = group(config.operators.as_deref())?;
    let store = store::Store::open(&config.state)?;
    let pins = Some(config.pins.as_path());
    let (kernel, why) = match config.level {
        Some(level) => (Kernel::load(level, pins)?, None),
        None => Kernel::best(pins)?,
    };
    Ok(Daemon {
        level: kernel.level(),
        kernel: Mutex::new(kernel),
        registry: Mutex::default(),
        catalogue: Mutex::default(),
        store,
        recorder: recorder::Recorder::open(&config.events)?,
        told: Mutex::default(),
        unkept: Mutex::default(),
        closing: Mutex::default(),
        telling: (Mutex::default(), Condvar::new()),
        why,
        boot: boot_id()?,
        guard: guard::rules(config)?,
        operators,
        killers: Mutex::default(),
        pushing: Mutex::default(),
        changing: Mutex::default(),
        directories: attach::Directories::new()?,
        looks: untraced::Looks::default(),
        ended: Notify::new(),
        quiet: Notify::new(),
        stopping: watch::Sender::new(false),
    })
}

/// Runs the daemon until it is told to stop. `ready` is called once the socket accepts. What it enforced goes on being
/// enforced without it, unless nothing was left to enforce.
///
/// # Errors
/// When the kernel plane does not load or the socket cannot be bound.
pub fn run(config: &Config, ready: impl FnOnce()) -> Result<()> {
    let daemon = Arc::new(set_up(config)?);
    let [denials, others] = daemon.kernel().rings()?;
    let rings = [Ring::new(denials, DENIALS_RING_BYTES)?, Ring::new(others, EVENTS_RING_BYTES)?];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let guard = runtime.enter(); // timers of adopted invocations
    daemon.take_over(&config.events)?;
    drop(guard);
    let (stop, stopper) = std::io::pipe()?;
    let mut ledger = ledger::Ledger::new(daemon.clone());
    let events = std::thread::Builder::new()
        .name("events".into())
        .spawn(move || crate::event::consume(&rings, &stop, &mut ledger))?;
    let served = runtime.block_on(server::serve(daemon.clone(), config, ready)).context("control socket");
    drop(stopper);
    if events.join().is_err() {
        tracing::error!("the thread that records events panicked");
    }
    drop(runtime); // waits for ends that are being recorded
    daemon.keep_rest();
    daemon.mark_log();
    if !daemon.registry().busy() {
        daemon.kernel().detach()?;
    }
    served
}
