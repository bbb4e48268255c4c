//! What must survive the daemon: policies by version, invocations, and how far the event log is known.
//!
//! What changes here is told in the event log as well. No order of two files leaves nothing out and says nothing twice when
//! the daemon is killed between them, so the lines for the log are kept here in the transaction of the change, until the log
//! is known to have them.
//!
//! An embedded database in write-ahead mode. A policy is on the disk before its push is answered. Invocations live no
//! longer than the machine's uptime, so for them it is enough that the database survives the daemon.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use uuid::Uuid;

use super::lock;

/// How long another process that writes to the database is waited for. What it must not delay is done before.
const BUSY: std::time::Duration = std::time::Duration::from_secs(1);

/// The version of the tables below.
const SCHEMA: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS policies (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    document TEXT NOT NULL,
    pushed TEXT NOT NULL,
    pushed_by INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
CREATE TABLE IF NOT EXISTS invocations (
    id TEXT PRIMARY KEY,
    boot TEXT NOT NULL,
    slot INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    state TEXT NOT NULL,
    facts TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS live ON invocations (state) WHERE state <> 'ended';
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    position INTEGER NOT NULL,
    seen TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS news (
    id INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    lines BLOB NOT NULL
) STRICT;
";

/// What the event log is to say of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// Where the log ended before: the lines are nowhere in front of that.
    pub(super) position: u64,
    pub(super) lines: Vec<u8>,
}

/// A row of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewsId(i64);

/// A version of a named policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) name: String,
    /// Counted from 1.
    pub(super) version: i64,
    pub(super) digest: String,
    pub(super) document: String,
    /// UTC, RFC 3339.
    pub(super) pushed: String,
    /// The UID that pushed it.
    pub(super) pushed_by: u32,
}

/// An invocation that was not known to be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) id: String,
    /// `/proc/sys/kernel/random/boot_id` when it started.
    pub(super) boot: String,
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) state: String,
    /// The rest, as JSON.
    pub(super) facts: String,
}

/// The database.
pub(super) struct Store(Mutex<Connection>);

fn version(row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version {
        name: row.get(0)?,
        version: row.get(1)?,
        digest: row.get(2)?,
        document: row.get(3)?,
        pushed: row.get(4)?,
        pushed_by: row.get(5)?,
    })
}

fn keep(transaction: &Transaction<'_>, news: &News) -> rusqlite::Result<NewsId> {
    let mut insert = transaction.prepare_cached("INSERT INTO news (position, lines) VALUES (?1, ?2)")?;
    Ok(NewsId(insert.insert(params![news.position.cast_signed(), news.lines])?))
}

const VERSION: &str = "SELECT name, version, digest, document, pushed, pushed_by FROM policies";

impl Store {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    /// When it can't be opened, is damaged, or is of a newer build.
    pub(super) fn open(path: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        if let Some(dir) = path.parent() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir);
            made.with_context(|| format!("making {}", dir.display()))?;
        }
        Self::set_up(path).with_context(|| format!("state database {}", path.display()))
    }

    fn set_up(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.busy_timeout(BUSY)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        ensure!(
            found <= SCHEMA,
            "it is of a newer build (schema {found}, this build knows {SCHEMA}); hint: install that build"
        );
        let sound: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        ensure!(
            sound == "ok",
            "it is damaged ({sound}); hint: move it away, its policies are to be pushed again"
        );
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "user_version", SCHEMA)?;
        Ok(Self(Mutex::new(connection)))
    }

    /// Adds a version of a policy, of which `news` says what is to be told. It is on the disk when this returns.
    pub(super) fn push(
        &self,
        (name, digest, document): (&str, &str, &str),
        uid: u32,
        news: impl FnOnce(&Version) -> News,
    ) -> Result<(Version, News, NewsId)> {
        let mut connection = lock(&self.0);
        connection.pragma_update(None, "synchronous", "FULL")?;
        let pushed = (|| {
            let transaction = connection.transaction()?;
            let last: i64 = transaction.query_row(
                "SELECT coalesce(max(version), 0) FROM policies WHERE name = ?1",
                [name],
                |row| row.get(0),
            )?;
            let new = Version {
                name: name.to_owned(),
                version: last + 1,
                digest: digest.to_owned(),
                document: document.to_owned(),
                pushed: format!("{:.3}", jiff::Timestamp::now()),
                pushed_by: uid,
            };
            transaction.execute(
                "INSERT INTO policies VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![new.name, new.version, new.digest, new.document, new.pushed, new.pushed_by],
            )?;
            let news = news(&new);
            let id = keep(&transaction, &news)?;
            transaction.commit()?;
            Ok((new, news, id))
        })();
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        pushed
    }

    /// The newest version of a policy.
    pub(super) fn newest(&self, name: &str) -> Result<Option<Version>> {
        let sql = format!("{VERSION} WHERE name = ?1 ORDER BY version DESC LIMIT 1");
        Ok(lock(&self.0).query_row(&sql, [name], version).optional()?)
    }

    /// All versions of a policy, newest first.
    pub(super) fn history(&self, name: &str) -> Result<Vec<Version>> {
        let connection = lock(&self.0);
        let mut rows = connection.prepare(&format!("{VERSION} WHERE name = ?1 ORDER BY version DESC"))?;
        Ok(rows.query_map([name], version)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The newest version of every policy, by name.
    pub(super) fn policies(&self) -> Result<Vec<Version>> {
        let connection = lock(&self.0);
        let sql = format!(
            "{VERSION} AS p WHERE version = (SELECT max(version) FROM policies WHERE name = p.name) ORDER BY name"
        );
        let mut rows = connection.prepare(&sql)?;
        Ok(rows.query_map([], version)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Notes an invocation before it begins.
    pub(super) fn begin(&self, kept: &Kept, news: &News) -> Result<NewsId> {
        self.transact(news, |transaction| {
            let mut insert =
                transaction.prepare_cached("INSERT INTO invocations VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            insert.execute(params![
                kept.id,
                kept.boot,
                kept.slot,
                kept.generation,
                kept.state,
                kept.facts
            ])?;
            Ok(())
        })
    }

    /// Notes new facts of an invocation.
    pub(super) fn change_facts(&self, id: Uuid, facts: &str, news: &News) -> Result<NewsId> {
        self.transact(news, |transaction| {
            let mut change = transaction.prepare_cached("UPDATE invocations SET facts = ?2 WHERE id = ?1")?;
            change.execute(params![id.to_string(), facts])?;
            Ok(())
        })
    }

    /// Notes that these invocations are now in `state`, but for those that are over: nothing comes after that.
    pub(super) fn change_states<Id: ToString>(&self, ids: &[Id], state: &str, news: &News) -> Result<NewsId> {
        self.transact(news, |transaction| {
            let mut change = transaction
                .prepare_cached("UPDATE invocations SET state = ?2 WHERE id = ?1 AND state <> 'ended'")?;
            for id in ids {
                change.execute(params![id.to_string(), state])?;
            }
            Ok(())
        })
    }

    /// A change and its news: both are kept, or neither.
    fn transact(
        &self,
        news: &News,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<NewsId> {
        let mut connection = lock(&self.0);
        let transaction = connection.transaction()?;
        change(&transaction)?;
        let id = keep(&transaction, news)?;
        transaction.commit()?;
        Ok(id)
    }

    /// News that the log may not have, oldest first.
    pub(super) fn news(&self) -> Result<Vec<(NewsId, News)>> {
        let connection = lock(&self.0);
        let mut rows = connection.prepare("SELECT id, position, lines FROM news ORDER BY id")?;
        let news = rows.query_map([], |row| {
            let position = row.get::<_, i64>(1)?.cast_unsigned();
            Ok((NewsId(row.get(0)?), News { position, lines: row.get(2)? }))
        })?;
        Ok(news.collect::<rusqlite::Result<_>>()?)
    }

    /// Forgets news that the log has.
    pub(super) fn forget_news(&self, told: &[NewsId]) -> Result<()> {
        let mut connection = lock(&self.0);
        let transaction = connection.transaction()?;
        {
            let mut forget = transaction.prepare_cached("DELETE FROM news WHERE id = ?1")?;
            for NewsId(id) in told {
                forget.execute([id])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// All invocations that were not known to be over.
    pub(super) fn unfinished(&self) -> Result<Vec<Kept>> {
        let connection = lock(&self.0);
        let mut rows = connection.prepare(
            "SELECT id, boot, slot, generation, state, facts FROM invocations WHERE state <> 'ended' ORDER BY id",
        )?;
        let kept = rows.query_map([], |row| {
            Ok(Kept {
                id: row.get(0)?,
                boot: row.get(1)?,
                slot: row.get(2)?,
                generation: row.get(3)?,
                state: row.get(4)?,
                facts: row.get(5)?,
            })
        })?;
        Ok(kept.collect::<rusqlite::Result<_>>()?)
    }

    /// Forgets invocations that ended long ago. Identities begin with the time of the start.
    pub(super) fn prune(&self) -> Result<()> {
        let month = std::time::Duration::from_secs(30 * 24 * 3600);
        let then = std::time::SystemTime::now()
            .checked_sub(month)
            .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let Some(then) = then else { return Ok(()) };
        let oldest = format!("{:012x}", then.as_millis());
        let oldest = format!("{}-{}", &oldest[..8], &oldest[8..]);
        lock(&self.0).execute("DELETE FROM invocations WHERE state = 'ended' AND id < ?1", [oldest])?;
        Ok(())
    }

    /// Notes that all events before `position` of the log are counted in `seen` (JSON).
    pub(super) fn mark_log(&self, position: u64, seen: &str) -> Result<()> {
        lock(&self.0).execute(
            "INSERT INTO log VALUES (0, ?1, ?2) ON CONFLICT (id) DO UPDATE SET position = ?1, seen = ?2",
            params![position.cast_signed(), seen],
        )?;
        Ok(())
    }

    /// The last mark of the log.
    pub(super) fn log_mark(&self) -> Result<Option<(u64, String)>> {
        let mark = lock(&self.0)
            .query_row("SELECT position, seen FROM log WHERE id = 0", [], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
            })
            .optional()?;
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(&dir.path().join("state/state.db")).expect("opens");
        (dir, store)
    }

    fn active(id: &str) -> Kept {
        Kept {
            id: id.into(),
            boot: "b".into(),
            slot: 1,
            generation: u32::MAX,
            state: "active".into(),
            facts: "{}".into(),
        }
    }

    fn news(line: &str) -> News {
        News { position: u64::MAX, lines: line.into() }
    }

    #[test]
    fn versions_of_a_policy_are_counted_and_kept() {
        let (dir, store) = store();
        for (name, digest) in [("a", "1"), ("b", "2"), ("a", "3")] {
            let (version, news, id) =
                store.push((name, digest, "text"), 7, |v| news(&v.digest)).expect("pushed");
            assert_eq!((version.digest.as_str(), news.lines.as_slice()), (digest, digest.as_bytes()));
            assert_eq!(store.news().expect("read").last(), Some(&(id, news)));
        }
        drop(store);
        let store = Store::open(&dir.path().join("state/state.db")).expect("opens again");
        let newest = store.newest("a").expect("read").expect("there");
        assert_eq!((newest.version, newest.digest.as_str(), newest.pushed_by), (2, "3", 7));
        let history: Vec<_> = store.history("a").expect("read").into_iter().map(|v| v.digest).collect();
        assert_eq!(history, ["3", "1"]);
        let all: Vec<_> = store.policies().expect("read").into_iter().map(|v| (v.name, v.version)).collect();
        assert_eq!(all, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        assert_eq!(store.newest("c").expect("read"), None);
    }

    #[test]
    fn invocations_are_unfinished_until_they_end() {
        let (_dir, store) = store();
        let id = Uuid::now_v7();
        let kept = active(&id.to_string());
        let told = [
            store.begin(&kept, &news("start")).expect("noted"),
            store.change_states(&[id], "revoked", &news("revoke")).expect("changed"),
            store.change_facts(id, "{\"a\":1}", &news("extend")).expect("changed"),
        ];
        let now = Kept { state: "revoked".into(), facts: "{\"a\":1}".into(), ..kept };
        assert_eq!(store.unfinished().expect("read"), [now]);
        let kept = ["start", "revoke", "extend"].map(news);
        assert_eq!(store.news().expect("read"), told.into_iter().zip(kept).collect::<Vec<_>>());
        store.change_states(&[id], "ended", &news("end")).expect("changed");
        let late = store.change_states(&[id], "revoked", &news("late")).expect("changes nothing");
        store.forget_news(&[late]).expect("forgotten");
        assert!(store.unfinished().expect("read").is_empty());
        store.forget_news(&told).expect("forgotten");
        let left: Vec<_> = store.news().expect("read").into_iter().map(|(_, news)| news).collect();
        assert_eq!(left, [news("end")]);
    }

    #[test]
    fn a_change_that_fails_leaves_no_news() {
        let (_dir, store) = store();
        let kept = active("i");
        store.begin(&kept, &news("start")).expect("noted");
        store.begin(&kept, &news("again")).expect_err("one of that name is there");
        assert_eq!(store.news().expect("read").len(), 1);
    }

    #[test]
    fn the_log_has_one_mark() {
        let (_dir, store) = store();
        assert_eq!(store.log_mark().expect("read"), None);
        store.mark_log(5, "{}").expect("marked");
        store.mark_log(u64::MAX, "[]").expect("marked");
        assert_eq!(store.log_mark().expect("read"), Some((u64::MAX, "[]".to_owned())));
    }

    #[test]
    fn a_damaged_database_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.db");
        std::fs::write(&path, "this is no database, but long enough to be taken for one".repeat(50))
            .expect("written");
        let error = format!("{:#}", Store::open(&path).err().expect("refused"));
        assert!(error.contains("state.db"), "{error}");
    }
}
