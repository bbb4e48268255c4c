//! What happens to invocations and policies is in the database and in the event log: in both, once, whenever the daemon is
//! killed (`store.rs` says how).
//!
//! The database is written where the change is made, with the locks that it needs. The log is written after they are given
//! back where that is possible: a disk that hangs must not keep a revoke waiting.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result};
use uuid::Uuid;

use super::registry::State;
use super::store::{News, NewsId, Store};
use super::{Daemon, lock};

/// Lines that are still to be written to the log, and where the database has them meanwhile.
#[must_use]
pub(super) struct Untold {
    pub(super) lines: Vec<u8>,
    pub(super) id: Option<NewsId>,
}

impl Daemon {
    /// What `lines` say, for a change in the database.
    pub(super) fn news(&self, lines: Vec<u8>) -> News {
        News { position: self.recorder.position(), lines }
    }

    /// Makes a change in the database, which is to be told.
    ///
    /// # Errors
    /// When the database can't be written. There is nothing to tell then.
    pub(super) fn keep(
        &self,
        lines: Vec<u8>,
        change: impl FnOnce(&Store, &News) -> Result<NewsId>,
    ) -> Result<Untold> {
        let news = self.news(lines);
        let id = change(&self.store, &news).context("state database")?;
        Ok(Untold { lines: news.lines, id: Some(id) })
    }

    /// The same for what has happened already: it is to be told also when the database can't be written.
    pub(super) fn keep_anyway(
        &self,
        lines: Vec<u8>,
        change: impl FnOnce(&Store, &News) -> Result<NewsId>,
    ) -> (Untold, Result<()>) {
        let news = self.news(lines);
        match change(&self.store, &news) {
            Ok(id) => (Untold { lines: news.lines, id: Some(id) }, Ok(())),
            Err(e) => (Untold { lines: news.lines, id: None }, Err(e.context("state database"))),
        }
    }

    /// Keeps that invocations are in a new state. The kernel has it already, so a failure takes nothing back: it is tried
    /// again by [`Self::keep_rest`].
    pub(super) fn keep_states(&self, ids: &[Uuid], state: State, lines: Vec<u8>) -> Untold {
        let change = |store: &Store, news: &News| store.change_states(ids, state.name(), news);
        let (untold, kept) = self.keep_anyway(lines, change);
        match kept {
            Ok(()) => self.closed(ids, state),
            Err(e) => {
                tracing::error!("{e:#}");
                lock(&self.unkept).push((ids.to_vec(), state));
            }
        }
        untold
    }

    fn closed(&self, ids: &[Uuid], state: State) {
        if state == State::Ended {
            let mut closing = lock(&self.closing);
            ids.iter().for_each(|id| drop(closing.remove(id)));
        }
    }

    /// Whether the database was told every state.
    pub(super) fn all_kept(&self) -> bool {
        lock(&self.unkept).is_empty()
    }

    /// Whether the database is being told something, or is still to be.
    pub(super) fn keeps(&self) -> bool {
        !lock(&self.closing).is_empty() || !self.all_kept()
    }

    /// Tries again to keep states that could not be kept, and are told already, until one can't be again.
    pub(super) fn keep_rest(&self) {
        let rest = std::mem::take(&mut *lock(&self.unkept));
        let mut rest = rest.into_iter();
        while let Some((ids, state)) = rest.next() {
            let kept = self.keep(Vec::new(), |store, news| store.change_states(&ids, state.name(), news));
            match kept {
                Ok(untold) => {
                    self.closed(&ids, state);
                    self.told(untold);
                }
                Err(e) => {
                    tracing::error!("{e:#}");
                    let mut unkept = lock(&self.unkept);
                    unkept.push((ids, state));
                    unkept.extend(rest);
                    return;
                }
            }
        }
    }

    /// Records what was kept.
    pub(super) fn told(&self, Untold { lines, id }: Untold) {
        if !lines.is_empty() {
            self.recorder.write(&lines);
        }
        lock(&self.told).extend(id);
    }

    /// Forgets news that are in the log. Those that wait for room in it are kept.
    pub(super) fn forget_told(&self) {
        let told = std::mem::take(&mut *lock(&self.told));
        if told.is_empty() {
            return;
        }
        let forgotten =
            if self.recorder.waits() { Ok(false) } else { self.store.forget_news(&told).map(|()| true) };
        match forgotten {
            Ok(true) => return,
            Ok(false) => {}
            Err(e) => tracing::error!("state database: {e:#}"),
        }
        lock(&self.told).extend(told);
    }

    /// Records what a daemon that was killed had kept for the log at `path` and not written.
    pub(super) fn tell_rest(&self, path: &Path) -> Result<()> {
        let (ids, mut news): (Vec<_>, Vec<_>) = self.store.news()?.into_iter().unzip();
        keep_untold(&mut news, path).with_context(|| path.display().to_string())?;
        for (id, news) in ids.into_iter().zip(news) {
            self.told(Untold { lines: news.lines, id: Some(id) });
        }
        self.forget_told();
        Ok(())
    }
}

fn each(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// Removes the lines from `news` that the log at `path` has. It may be another file than it was; then it has none.
fn keep_untold(news: &mut [News], path: &Path) -> std::io::Result<()> {
    let Some(start) = news.iter().map(|news| news.position).min() else { return Ok(()) };
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(if len < start { 0 } else { start }))?;
    let mut log = BufReader::new(file);
    let mut missing: HashSet<Vec<u8>> =
        news.iter().flat_map(|news| each(&news.lines)).map(<[u8]>::to_vec).collect();
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line)? > 0 {
        missing.remove(&line);
        line.clear();
    }
    for news in news {
        news.lines = each(&news.lines).filter(|line| missing.contains(*line)).flatten().copied().collect();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `news`, each with the place where the log ended before, when the log is `log`.
    fn untold(log: &str, news: &[(u64, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("events.jsonl");
        std::fs::write(&path, log).expect("written");
        let news = news.iter().map(|(position, text)| News { position: *position, lines: (*text).into() });
        let mut news: Vec<_> = news.collect();
        keep_untold(&mut news, &path).expect("read");
        news.into_iter().map(|news| String::from_utf8(news.lines).expect("text")).collect()
    }

    #[test]
    fn what_the_log_has_is_not_told_again() {
        assert_eq!(untold("a\nb\nc\n", &[(2, "b\n"), (4, "c\n")]), ["", ""]);
        assert_eq!(untold("a\nb\n", &[(2, "b\n"), (4, "c\n")]), ["", "c\n"]);
        assert_eq!(untold("a\n", &[]), [""; 0]);
    }

    #[test]
    fn of_lines_that_were_written_together_those_are_told_that_the_log_has_not() {
        assert_eq!(untold("a\nb\ntruncated c\n", &[(2, "b\nc\nd\n")]), ["c\nd\n"]);
    }

    #[test]
    fn another_log_is_read_from_its_beginning() {
        assert_eq!(untold("b\n", &[(100, "b\n"), (102, "c\n")]), ["", "c\n"]);
    }
}
