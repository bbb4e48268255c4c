//! From events to the log, and the proof that nothing is missing.
//!
//! A batch is in the log before its room in the rings is given back, so a daemon that is killed loses nothing: the next one
//! reads the end of the log, and passes over what is there already. What never reached a ring is missing in the
//! sequence of its invocation, and is recorded as a gap.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentguard_common::event::Action;
use agentguard_common::invocation::Tag;
use anyhow::{Context as _, Result};
use serde_json::json;
use uuid::Uuid;

use super::registry::Invocation;
use super::seen::Seen;
use super::{Daemon, recorder};
use crate::clock::Now;
use crate::event::record::Record;
use crate::event::{self, Raw, Sink};

/// How often at most the database is told how far the log is known.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Where events end up.
pub(super) struct Ledger {
    daemon: Arc<Daemon>,
    /// Executables by process, for events that only name the process.
    exes: HashMap<u32, String>,
    marked: Instant,
    lost: u64,
}

/// What is needed of an invocation while a batch is recorded.
struct Known {
    invocation: Invocation,
    added: Vec<u64>,
    /// Time of the last event of the batch.
    last_ns: u64,
    /// Somebody came to its cgroup.
    joined: bool,
}

impl Ledger {
    pub(super) fn new(daemon: Arc<Daemon>) -> Self {
        Self { daemon, exes: HashMap::new(), marked: Instant::now(), lost: 0 }
    }

    /// The lines of a batch, and whose events they are.
    fn lines(&mut self, batch: &[Raw<'_>]) -> (String, HashMap<Tag, Known>) {
        let mut known: HashMap<Tag, Known> = HashMap::new();
        let mut lines = String::new();
        let now = Now::new();
        for raw in batch.iter().filter(|raw| raw.header.slot != 0) {
            let tag = Tag { slot: raw.header.slot, generation: raw.header.generation };
            let of = match known.entry(tag) {
                Entry::Occupied(of) => of.into_mut(),
                Entry::Vacant(of) => {
                    let Some(invocation) = self.daemon.registry().get(tag).cloned() else {
                        lines.extend(recorder::line(&stray(raw)));
                        continue;
                    };
                    of.insert(Known { invocation, added: Vec::new(), last_ns: 0, joined: false })
                }
            };
            if !of.invocation.seen.add(raw.header.seq) {
                continue; // in the log already: the daemon before this one was killed behind it
            }
            of.added.push(raw.header.seq);
            of.last_ns = of.last_ns.max(raw.header.time_ns);
            of.joined |= raw.header.action == Action::Adopt as u16 && of.invocation.selects;
            let chain = super::lock(&self.daemon.catalogue).of_generation(raw.header.policy_generation);
            let chain = chain.unwrap_or_else(|| of.invocation.chain.clone());
            let mut record = event::enrich(raw, &of.invocation, &chain, &mut self.exes, now);
            if raw.header.action == Action::Tool as u16 {
                let tool = Tag { slot: raw.header.other_pid, generation: raw.header.other_tid };
                if let Some(tool) = self.daemon.registry().get(tool) {
                    record.object.clone_from(&tool.facts.agent);
                    record.detail.insert("invocation".into(), json!(tool.id));
                }
            }
            lines.extend(recorder::line(&record));
        }
        (lines, known)
    }

    /// Looks for events that were lost since the last look.
    fn look_for_losses(&mut self) {
        let counters = match self.daemon.kernel().counters() {
            Ok(counters) => counters,
            Err(e) => return tracing::error!("counters: {e:#}"),
        };
        let lost = counters.iter().filter(|(name, _)| name.ends_with("_lost")).map(|(_, n)| n).sum();
        if lost == self.lost {
            return;
        }
        self.lost = lost;
        let live: Vec<Tag> = self.daemon.registry().live().map(|i| i.tag).collect();
        for tag in live {
            self.daemon.record_gap(tag);
            self.daemon.end_if_over(tag, 0); // its last exit may be among them
        }
    }
}

/// An event of an invocation that the daemon does not know: it is recorded all the same.
fn stray(raw: &Raw<'_>) -> Record {
    let mut record = Record {
        time: format!("{:.6}", jiff::Timestamp::now()),
        boot_ns: raw.header.time_ns,
        seq: Some(raw.header.seq),
        invocation: "unknown".into(),
        action: Action::from_raw(raw.header.action).map_or("unknown", Action::name).into(),
        object: event::record::printable(raw.path),
        decision: if raw.header.decision == 1 { "allow" } else { "deny" }.into(),
        ..Record::default()
    };
    record.detail.insert("slot".into(), json!(raw.header.slot));
    record.detail.insert("generation".into(), json!(raw.header.generation));
    record.detail.insert("pid".into(), json!(raw.header.pid));
    record
}

impl Sink for Ledger {
    fn record(&mut self, batch: &[Raw<'_>]) -> bool {
        if self.marked.elapsed() >= MARK_EVERY {
            self.marked = Instant::now();
            self.daemon.mark_log(); // the batch before this one is given back
        }
        let (lines, known) = self.lines(batch);
        if !lines.is_empty() && !self.daemon.recorder.write_events(&lines) {
            return false;
        }
        {
            let mut registry = self.daemon.registry();
            for (tag, of) in &known {
                if let Some(invocation) = registry.get_mut(*tag) {
                    for seq in &of.added {
                        invocation.seen.add(*seq);
                    }
                }
            }
        }
        if known.values().any(|of| of.joined) {
            self.daemon.gather();
        }
        for (tag, of) in known {
            if of.joined {
                self.daemon.joined(tag);
            }
            self.daemon.end_if_over(tag, of.last_ns);
        }
        true
    }

    fn settle(&mut self) {
        self.look_for_losses();
    }
}

impl Daemon {
    /// Records the sequence numbers that are missing in the log and can no longer come, once.
    pub(super) fn record_gap(&self, tag: Tag) {
        let slot = self.kernel().invocation(tag.slot);
        let mut registry = self.registry();
        let Some(invocation) = registry.get_mut(tag).filter(|_| slot.generation == tag.generation) else {
            return;
        };
        let missing = invocation.seen.missing_below(slot.next_seq);
        let count = |ranges: &[(u64, u64)]| ranges.iter().map(|(first, last)| last - first + 1).sum::<u64>();
        if count(&missing) != slot.lost {
            return; // some are on their way still
        }
        let mut fresh = Vec::new();
        for (first, last) in missing {
            fresh.extend((first..=last).filter(|n| invocation.gaps.add(*n)));
        }
        if fresh.is_empty() {
            return;
        }
        let mut named = Seen::default();
        fresh.iter().for_each(|n| {
            named.add(*n);
        });
        let mut record = invocation.record();
        drop(registry);
        record.detail.insert("missing".into(), json!(fresh.len()));
        record.detail.insert("sequence".into(), json!(named));
        self.note(record, "gap");
    }

    /// Notes in the database how far the log is known.
    pub(super) fn mark_log(&self) {
        let position = self.recorder.position();
        let seen: BTreeMap<Uuid, Seen> = self.registry().live().map(|i| (i.id, i.seen.clone())).collect();
        let marked = serde_json::to_string(&seen)
            .map_err(Into::into)
            .and_then(|seen| self.store.mark_log(position, &seen));
        if let Err(e) = marked {
            tracing::error!("state database: {e:#}");
        }
    }

    /// What the log has of each invocation: what the database knows, and what came behind it.
    pub(super) fn logged(&self, log: &Path) -> Result<HashMap<Uuid, Seen>> {
        let (mut position, mut seen) = match self.store.log_mark()? {
            Some((position, seen)) => (position, serde_json::from_str::<HashMap<Uuid, Seen>>(&seen)?),
            None => (0, HashMap::new()),
        };
        let mut file = File::open(log).with_context(|| log.display().to_string())?;
        if file.metadata()?.len() < position {
            position = 0; // another file by now
        }
        file.seek(SeekFrom::Start(position))?;
        for line in BufReader::new(file).split(b'\n') {
            let Ok(record) = serde_json::from_slice::<Record>(&line?) else { continue }; // not one of ours
            if let (Some(seq), Ok(id)) = (record.seq, record.invocation.parse()) {
                seen.entry(id).or_default().add(seq);
            }
        }
        Ok(seen)
    }
}
