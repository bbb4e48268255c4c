//! The daemon: issues identities, publishes policies, revokes, and turns events into records.

pub mod api;
mod guard;
mod kill;
mod recorder;
pub mod registry;
mod server;
mod start;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentguard_common::invocation::{self as wire, Tag};
use anyhow::{Context as _, Result};
use registry::{Registry, State};
use tokio::sync::{Notify, broadcast, watch};

use crate::event::record::Record;
use crate::kernel::{Kernel, Level};
use crate::policy::model::FileRule;

/// Where things are, and how long the daemon lives.
#[derive(Clone, Debug)]
pub struct Config {
    pub socket: PathBuf,
    pub events: PathBuf,
    /// The level to insist on; `None` takes the best.
    pub level: Option<Level>,
    /// End when the last invocation has ended.
    pub ephemeral: bool,
}

/// Shared state.
pub struct Daemon {
    kernel: Mutex<Kernel>,
    registry: Mutex<Registry>,
    recorder: recorder::Recorder,
    /// Why not a higher level.
    why: Option<String>,
    level: Level,
    /// Rules of every policy, for the daemon's own files.
    guard: Vec<FileRule>,
    /// An invocation ended, or was refused.
    ended: Notify,
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
    fn note(&self, mut record: Record, action: &str) {
        record.boot_ns = crate::clock::boot_ns();
        record.time = format!("{:.6}", jiff::Timestamp::now());
        action.clone_into(&mut record.action);
        if record.decision.is_empty() {
            "allow".clone_into(&mut record.decision);
        }
        self.recorder.write(&record);
    }

    /// Marks and records an active invocation whose authority was taken. False when it is not active.
    fn barred(&self, tag: Tag, state: State, action: &str) -> bool {
        let mut registry = self.registry();
        let Some(invocation) = registry.get_mut(tag).filter(|i| i.state == State::Active) else {
            return false;
        };
        invocation.state = state;
        let mut record = invocation.record();
        drop(registry);
        "deny".clone_into(&mut record.decision);
        state.name().clone_into(&mut record.reason);
        self.note(record, action);
        true
    }

    /// Names the state that an invocation past its time is in already. True the first time.
    fn expire(&self, kernel: &Kernel, tag: Tag) -> bool {
        let expired = self.barred(tag, State::Expired, "expire");
        if expired {
            kernel.set_state(tag.slot, wire::state::EXPIRED);
        }
        expired
    }

    /// Marks an invocation whose last task is gone, once all it did is recorded. `at_ns` is the time of its last event.
    fn end_if_over(&self, tag: Tag, at_ns: u64) {
        let kernel = self.kernel();
        let slot = kernel.invocation(tag.slot);
        if slot.generation != tag.generation || slot.tasks != 0 {
            return;
        }
        if at_ns >= slot.expires_ns {
            self.expire(&kernel, tag); // it lived to see it, however late this daemon's own timer is
        }
        let mut registry = self.registry();
        let Some(invocation) = registry.get_mut(tag).filter(|i| i.state != State::Ended) else { return };
        let slot = kernel.invocation(tag.slot); // again: its counts are final only once no task is left
        if invocation.recorded + slot.lost < slot.next_seq {
            return; // an event of another CPU is on its way
        }
        invocation.state = State::Ended;
        let mut record = invocation.record();
        drop(registry);
        if slot.state == wire::state::ACTIVE {
            kernel.set_state(tag.slot, wire::state::ENDED); // a revoked one stays revoked: its sockets may live on
        }
        drop(kernel);
        for (name, value) in [("events", slot.next_seq), ("denied", slot.denied), ("lost", slot.lost)] {
            record.detail.insert(name.into(), value.into());
        }
        self.note(record, "end");
        self.ended.notify_one();
    }
}

/// Runs the daemon until it is told to stop. `ready` is called once the socket accepts.
///
/// # Errors
/// When the kernel plane does not load or the socket cannot be bound.
pub fn run(config: &Config, ready: impl FnOnce()) -> Result<()> {
    let (mut kernel, why) = match config.level {
        Some(level) => (Kernel::load(level)?, None),
        None => Kernel::best()?,
    };
    let level = kernel.level();
    let rings = kernel.take_rings()?;
    let daemon = Arc::new(Daemon {
        kernel: Mutex::new(kernel),
        registry: Mutex::default(),
        recorder: recorder::Recorder::open(&config.events)?,
        why,
        level,
        guard: guard::rules(config)?,
        ended: Notify::new(),
        stopping: watch::Sender::new(false),
    });
    let (stop, stopper) = std::io::pipe()?;
    let consumer = daemon.clone();
    let events =
        std::thread::Builder::new().name("events".into()).spawn(move || consumer.consume(rings, stop))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(server::serve(daemon, config, ready)).context("control socket");
    drop(stopper);
    if events.join().is_err() {
        tracing::error!("the thread that records events panicked");
    }
    served
}

impl Daemon {
    /// Records events until `stop` is closed at its other end.
    fn consume(&self, rings: [aya::maps::RingBuf<aya::maps::MapData>; 2], stop: std::io::PipeReader) {
        let mut exes = std::collections::HashMap::new();
        crate::event::consume(rings, stop, |raw| {
            let tag = Tag { slot: raw.header.slot, generation: raw.header.generation };
            let invocation = self.registry().get_mut(tag).map(|i| {
                i.recorded += 1;
                i.clone()
            });
            if let Some(invocation) = invocation {
                let record = crate::event::enrich(&raw, &invocation, &mut exes);
                self.recorder.write(&record);
            }
            self.end_if_over(tag, raw.header.time_ns);
        });
    }

    /// Follows the records written from now on.
    fn follow(&self) -> broadcast::Receiver<Arc<str>> {
        self.recorder.follow()
    }
}
