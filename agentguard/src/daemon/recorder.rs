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

pub(super) struct Recorder {
    file: Mutex<File>,
    followers: broadcast::Sender<Arc<str>>,
}

impl Recorder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        let file = File::options().create(true).append(true).mode(0o640).open(path);
        let file = file.with_context(|| format!("opening the event log {}", path.display()))?;
        Ok(Self { file: Mutex::new(file), followers: broadcast::channel(FOLLOW_BACKLOG).0 })
    }

    /// Appends one record. A write that fails is said, never swallowed.
    pub(super) fn write(&self, record: &Record) {
        let mut line = match serde_json::to_string(record) {
            Ok(line) => line,
            Err(e) => return tracing::error!("record not written: {e}"),
        };
        line.push('\n');
        if let Err(e) = super::lock(&self.file).write_all(line.as_bytes()) {
            tracing::error!("event log: {e}; record: {line}");
        }
        let _ = self.followers.send(line.into()); // an error means that nobody follows
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<str>> {
        self.followers.subscribe()
    }
}
