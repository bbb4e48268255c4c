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
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::catalogue::Chain;
use super::registry::Invocation;
use super::seen::Seen;
use super::{Daemon, recorder};
use crate::clock::{self, Now};
use crate::event::record::{self, Record, Rendered, What, When, Whose};
use crate::event::{self, Exes, Raw, Sink};

/// How often at most the database is told how far the log is known.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Bytes that are set aside for a line; most are shorter.
const LINE: usize = 768;

/// Where events end up.
pub(super) struct Ledger {
    daemon: Arc<Daemon>,
    exes: Exes,
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
    /// By which rules the event before was decided.
    decided: Option<Decided>,
}

/// Rules that decided, and what of a record is the same for all events that they decided.
struct Decided {
    /// Of the policy's tables.
    generation: u32,
    chain: Chain,
    whose: Rendered,
}

impl Known {
    const fn new(invocation: Invocation) -> Self {
        Self { invocation, added: Vec::new(), last_ns: 0, joined: false, decided: None }
    }

    /// What stands behind this generation of tables.
    fn decided(&mut self, daemon: &Daemon, generation: u32) -> serde_json::Result<&mut Decided> {
        if let Some(decided) = self.decided.take_if(|decided| decided.generation == generation) {
            return Ok(self.decided.insert(decided));
        }
        let chain = super::lock(&daemon.catalogue).of_generation(generation);
        let chain = chain.unwrap_or_else(|| self.invocation.chain.clone());
        let mut whose = self.invocation.whose();
        if let Some(own) = chain.0.last() {
            whose.policy_digest.clone_from(&own.policy().digest); // of the version that decided
        }
        let whose = whose.render()?;
        Ok(self.decided.insert(Decided { generation, chain, whose }))
    }
}

impl Ledger {
    pub(super) fn new(daemon: Arc<Daemon>) -> Self {
        Self { daemon, exes: Exes::default(), marked: Instant::now(), lost: 0 }
    }

    /// The lines of a batch, and whose events they are.
    fn lines(&mut self, batch: &[Raw<'_>]) -> (Vec<u8>, FxHashMap<Tag, Known>) {
        let mut known: FxHashMap<Tag, Known> = FxHashMap::default();
        let mut lines = Vec::with_capacity(batch.len() * LINE);
        let mut now = Now::new();
        for raw in batch.iter().filter(|raw| raw.header.slot != 0) {
            let header = raw.header;
            let tag = Tag { slot: header.slot, generation: header.generation };
            let of = match known.entry(tag) {
                Entry::Occupied(of) => of.into_mut(),
                Entry::Vacant(of) => {
                    let Some(invocation) = self.daemon.registry().get(tag).cloned() else {
                        recorder::add(&mut lines, &stray(raw));
                        continue;
                    };
                    of.insert(Known::new(invocation))
                }
            };
            if !of.invocation.seen.add(header.seq) {
                continue; // in the log already: the daemon before this one was killed behind it
            }
            of.added.push(header.seq);
            of.last_ns = of.last_ns.max(header.time_ns);
            of.joined |= header.action == Action::Adopt as u16 && of.invocation.selects;
            let when =
                When { time: now.utc(header.time_ns).into(), boot_ns: header.time_ns, seq: Some(header.seq) };
            let added = of.decided(&self.daemon, header.policy_generation).and_then(|decided| {
                let mut what = event::enrich(raw, &decided.chain, &mut self.exes);
                if header.action == Action::Tool as u16 {
                    let tool = Tag { slot: header.other_pid, generation: header.other_tid };
                    if let Some(tool) = self.daemon.registry().get(tool) {
                        what.object = tool.facts.agent.clone().into();
                        what.detail.insert("invocation", json!(tool.id));
                    }
                }
                record::add_line(&mut lines, &when, &mut decided.whose, &what)
            });
            if let Err(e) = added {
                tracing::error!("an event is no JSON: {e}");
            }
            self.exes.forget(raw);
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

/// What of a line of the log says that an event of the kernel's is there.
#[derive(Deserialize)]
struct Numbered {
    invocation: Uuid,
    seq: u64,
}

/// An event of an invocation that the daemon does not know: it is recorded all the same.
fn stray<'a>(raw: &Raw<'a>) -> Record<'a> {
    let header = raw.header;
    let mut record = Record {
        when: When { time: clock::utc_now().into(), boot_ns: header.time_ns, seq: Some(header.seq) },
        whose: Whose { invocation: "unknown".into(), ..Whose::default() },
        what: What {
            action: Action::from_raw(header.action).map_or("unknown", Action::name).into(),
            object: record::printable(raw.path),
            decision: if header.decision == 1 { "allow" } else { "deny" }.into(),
            ..What::default()
        },
    };
    let detail = &mut record.what.detail;
    detail.insert("slot", json!(header.slot));
    detail.insert("generation", json!(header.generation));
    detail.insert("pid", json!(header.pid));
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
                self.daemon.kill_if_barred(tag);
            }
            self.daemon.end_if_over(tag, of.last_ns);
        }
        true
    }

    fn settle(&mut self) {
        self.daemon.forget_told();
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
        record.what.detail.insert("missing", json!(fresh.len()));
        record.what.detail.insert("sequence", json!(named));
        self.note(record, "gap");
    }

    /// Notes in the database how far the log is known.
    pub(super) fn mark_log(&self) {
        if !self.all_kept() {
            return; // what the database takes for live must be in the mark
        }
        let position = self.recorder.position();
        let mut seen: BTreeMap<Uuid, Seen> = self.registry().live().map(|i| (i.id, i.seen.clone())).collect();
        seen.extend(super::lock(&self.closing).iter().map(|(id, seen)| (*id, seen.clone())));
        let marked = serde_json::to_string(&seen)
            .map_err(Into::into)
            .and_then(|seen| self.store.mark_log(position, &seen));
        if let Err(e) = marked {
            tracing::error!("state database: {e:#}");
        }
        self.forget_told();
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
            let Ok(of) = serde_json::from_slice::<Numbered>(&line?) else { continue }; // not one of ours
            seen.entry(of.invocation).or_default().add(of.seq);
        }
        Ok(seen)
    }
}
