//! The event log: JSON lines in a file, and to whoever follows.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::sync::broadcast;

use crate::event::record::{Record, What, When, printable};

/// Records a follower may lag behind before it is told how many it missed.
const FOLLOW_BACKLOG: usize = 4096;

/// Bytes that are kept of a line that was cut off. Records are shorter.
const MAX_FRAGMENT: usize = 64 << 10;

/// The file, and what waits for room in it.
struct Log {
    file: File,
    /// Where the next line begins.
    position: u64,
    /// Records of the daemon's own that could not be written yet.
    waiting: Vec<u8>,
    /// The last attempt failed, and that was said.
    failing: bool,
}

pub(super) struct Recorder {
    log: Mutex<Log>,
    /// [`Log::position`], known also while somebody writes.
    position: AtomicU64,
    followers: broadcast::Sender<Bytes>,
}

impl Log {
    /// Appends all of `text` or nothing.
    fn append(&mut self, text: &[u8]) -> std::io::Result<()> {
        let written = self.file.write_all(text);
        match &written {
            Ok(()) => self.position += text.len() as u64,
            Err(_) => self.file.set_len(self.position)?, // no half a line
        }
        written
    }

    /// Appends what waits and then `lines`, or nothing of them.
    fn write(&mut self, lines: &[u8]) -> bool {
        let waiting = std::mem::take(&mut self.waiting);
        let all = if waiting.is_empty() { lines } else { &[&waiting, lines].concat() };
        match self.append(all) {
            Ok(()) => {
                self.failing = false;
                true
            }
            Err(e) => {
                if !self.failing {
                    tracing::error!("the event log can't be written, events wait in the kernel: {e}");
                }
                self.failing = true;
                self.waiting = waiting;
                false
            }
        }
    }
}

impl Recorder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        let file = File::options().create(true).append(true).read(true).mode(0o640).open(path);
        let file = file.with_context(|| format!("opening the event log {}", path.display()))?;
        if file.metadata()?.is_file() {
            mend(path).with_context(|| format!("mending the event log {}", path.display()))?;
        }
        let position = file.metadata()?.len();
        let log = Log { file, position, waiting: Vec::new(), failing: false };
        let position = AtomicU64::new(position);
        Ok(Self { log: Mutex::new(log), position, followers: broadcast::channel(FOLLOW_BACKLOG).0 })
    }

    /// Appends events of the kernel, one a line. False when they could not be written; they are then in no file.
    pub(super) fn write_events(&self, lines: &[u8]) -> bool {
        let written = self.append(&mut super::lock(&self.log), lines);
        if written {
            self.tell(lines);
        }
        written
    }

    /// Appends records of the daemon's own, one a line, now or as soon as there is room.
    pub(super) fn write(&self, lines: &[u8]) {
        let mut log = super::lock(&self.log);
        if !self.append(&mut log, lines) {
            log.waiting.extend_from_slice(lines);
        }
        drop(log);
        self.tell(lines);
    }

    fn append(&self, log: &mut Log, lines: &[u8]) -> bool {
        let written = log.write(lines);
        self.position.store(log.position, Ordering::Release);
        written
    }

    fn tell(&self, lines: &[u8]) {
        if self.followers.receiver_count() == 0 {
            return;
        }
        let all = Bytes::copy_from_slice(lines);
        for line in all.split_inclusive(|byte| *byte == b'\n') {
            let _ = self.followers.send(all.slice_ref(line)); // an error means that nobody follows any more
        }
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<Bytes> {
        self.followers.subscribe()
    }

    /// Whether records wait for room in the file.
    pub(super) fn waits(&self) -> bool {
        !super::lock(&self.log).waiting.is_empty()
    }

    /// Where the next line begins, or the one that is being written. Waits for nobody.
    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }
}

/// Puts a record in the place of a last line that has no end: a daemon was killed, or power was lost, while it was written.
/// So every line is JSON, and what there was of that one stays readable. An event of the kernel's comes again, since its
/// room in the ring was not given back.
fn mend(path: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?; // where data is appended, it can't be replaced
    let len = file.metadata()?.len();
    let start = last_line(&file, len)?;
    if start == len {
        return Ok(());
    }
    let mut text = vec![0; usize::try_from(len - start)?.min(MAX_FRAGMENT)];
    file.read_exact_at(&mut text, start)?;
    tracing::warn!("{}: its last line, of {} bytes, was cut off", path.display(), len - start);
    let what = What { action: "truncated-line".into(), decision: "allow".into(), ..What::default() };
    let mut record = Record { when: When::now(), what, ..Record::default() };
    record.what.detail.insert("bytes", (len - start).into());
    record.what.detail.insert("text", printable(&text).into());
    let mut line = Vec::new();
    record.add_line(&mut line)?;
    file.write_all_at(&line, start)?;
    Ok(file.set_len(start + line.len() as u64)?)
}

/// Where the line at the end of the first `len` bytes begins; `len` when there is none, or when it is whole.
fn last_line(file: &File, len: u64) -> Result<u64> {
    let mut end = len;
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let bytes = &mut chunk[..usize::try_from(end - start)?];
        file.read_exact_at(bytes, start)?;
        if let Some(newline) = bytes.iter().rposition(|&b| b == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Adds the line of a record.
pub(super) fn add(lines: &mut Vec<u8>, record: &Record<'_>) {
    if let Err(e) = record.add_line(lines) {
        tracing::error!("record not written: {e}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_that_was_cut_off_becomes_a_record() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("events.jsonl");
        let zeros = "\0".repeat(2 * MAX_FRAGMENT);
        for (before, cut) in
            [("", "{\"half"), ("{}\n{}\n", "{\"time\":\"caf\u{e9}"), ("{}\n", "\0\0"), ("{}\n", &zeros)]
        {
            std::fs::write(&path, format!("{before}{cut}")).expect("written");
            let recorder = Recorder::open(&path).expect("opens");
            let what = What { action: "start".into(), ..What::default() };
            let mut line = Vec::new();
            add(&mut line, &Record { what, ..Record::default() });
            recorder.write(&line);
            let text = std::fs::read_to_string(&path).expect("read");
            assert_eq!(recorder.position(), text.len() as u64);
            let rest = text.strip_prefix(before).expect("whole lines are left alone");
            let records: Vec<Record<'_>> =
                rest.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            let [mended, start] = records.as_slice() else { panic!("{rest}") };
            assert_eq!((&*mended.what.action, &*start.what.action), ("truncated-line", "start"));
            assert_eq!(mended.what.detail.get("bytes"), Some(&json!(cut.len())));
            let kept = &cut.as_bytes()[..cut.len().min(MAX_FRAGMENT)];
            assert_eq!(mended.what.detail.get("text"), Some(&json!(printable(kept))));
        }
    }

    #[test]
    fn whole_lines_are_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("events.jsonl");
        let long = format!("{{}}\n{{\"long\":\"{}\"}}\n", "x".repeat(9000));
        for whole in ["", "{}\n", &long] {
            std::fs::write(&path, whole).expect("written");
            let recorder = Recorder::open(&path).expect("opens");
            assert_eq!(recorder.position(), whole.len() as u64);
            assert_eq!(std::fs::read_to_string(&path).expect("read"), whole);
        }
    }
}
