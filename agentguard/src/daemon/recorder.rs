//! The event log: JSON lines in a file, and to whoever follows.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use tokio::sync::broadcast;

use crate::event::record::Record;

/// Records a follower may lag behind before it is told how many it missed.
const FOLLOW_BACKLOG: usize = 4096;

/// The file, and what waits for room in it.
struct Log {
    file: File,
    /// Where the next line begins.
    position: u64,
    /// Records of the daemon's own that could not be written yet.
    waiting: String,
    /// The last attempt failed, and that was said.
    failing: bool,
}

pub(super) struct Recorder {
    log: Mutex<Log>,
    followers: broadcast::Sender<Arc<str>>,
}

impl Log {
    /// Appends all of `text` or nothing.
    fn append(&mut self, text: &str) -> std::io::Result<()> {
        let written = self.file.write_all(text.as_bytes());
        match &written {
            Ok(()) => self.position += text.len() as u64,
            Err(_) => self.file.set_len(self.position)?, // no half a line
        }
        written
    }

    /// Appends what waits and then `lines`, or nothing of them.
    fn write(&mut self, lines: &str) -> bool {
        let waiting = std::mem::take(&mut self.waiting);
        let all = if waiting.is_empty() { lines } else { &format!("{waiting}{lines}") };
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
        let mut file = file.with_context(|| format!("opening the event log {}", path.display()))?;
        let mut position = file.metadata()?.len();
        if position > 0 && !ends_with_newline(&file, position)? {
            file.write_all(b"\n")?; // a line that was cut off by a power loss stands alone
            position += 1;
        }
        let log = Log { file, position, waiting: String::new(), failing: false };
        Ok(Self { log: Mutex::new(log), followers: broadcast::channel(FOLLOW_BACKLOG).0 })
    }

    /// Appends events of the kernel, one a line. False when they could not be written; they are then in no file.
    pub(super) fn write_events(&self, lines: &str) -> bool {
        let written = super::lock(&self.log).write(lines);
        if written {
            self.tell(lines);
        }
        written
    }

    /// Appends records of the daemon's own, one a line, now or as soon as there is room.
    pub(super) fn write(&self, lines: &str) {
        let mut log = super::lock(&self.log);
        if !log.write(lines) {
            log.waiting.push_str(lines);
        }
        drop(log);
        self.tell(lines);
    }

    fn tell(&self, lines: &str) {
        if self.followers.receiver_count() == 0 {
            return;
        }
        for line in lines.split_inclusive('\n') {
            let _ = self.followers.send(line.into()); // an error means that nobody follows any more
        }
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<str>> {
        self.followers.subscribe()
    }

    /// Where the next line begins.
    pub(super) fn position(&self) -> u64 {
        super::lock(&self.log).position
    }
}

fn ends_with_newline(file: &File, len: u64) -> Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut last = [0];
    file.read_exact_at(&mut last, len - 1)?;
    Ok(last == *b"\n")
}

/// The line of a record, with its end.
pub(super) fn line(record: &Record) -> Option<String> {
    match serde_json::to_string(record) {
        Ok(line) => Some(line + "\n"),
        Err(e) => {
            tracing::error!("record not written: {e}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_stands_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("events.jsonl");
        std::fs::write(&path, "{\"half").expect("written");
        let recorder = Recorder::open(&path).expect("opens");
        let record = Record { action: "start".into(), ..Record::default() };
        recorder.write(&line(&record).expect("a line"));
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(recorder.position(), text.len() as u64);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0] == "{\"half" && lines[1].contains("\"start\""), "{text}");
    }
}
