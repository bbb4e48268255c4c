//! What one client may take, so that it takes nothing from the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentguard_common::invocation::Tag;

use super::super::lock;

/// Connections at once, of all clients.
const CONNECTIONS: usize = 1024;
/// Connections at once of one user. Less than all, so that root always gets in.
const CONNECTIONS_OF_USER: usize = 128;
/// Requests a second on average, of an ordinary user or an invocation.
const RATE: f64 = 50.0;
/// Requests at once after a pause.
const BURST: f64 = 100.0;
/// Clients whose requests are counted before those that have paused are forgotten.
const COUNTED: usize = 10_000;

/// Connections that are open, by user.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<u32, usize>>>);

/// A connection that counts as long as this lives.
pub(super) struct Connection {
    of: Connections,
    uid: u32,
}

impl Connections {
    /// Counts a connection of `uid`; `None` when there are too many.
    pub(super) fn open(&self, uid: u32) -> Option<Connection> {
        let mut open = lock(&self.0);
        let all: usize = open.values().sum();
        let own = open.entry(uid).or_default();
        if uid != 0 && (all >= CONNECTIONS || *own >= CONNECTIONS_OF_USER) {
            return None;
        }
        *own += 1;
        drop(open);
        Some(Connection { of: self.clone(), uid })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = lock(&self.of.0);
        if let Some(own) = open.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

/// Who is counted: an invocation, or a user.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Client {
    Invocation(Tag),
    User(u32),
}

/// Requests by client: a bucket each, that fills by [`RATE`] up to [`BURST`].
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<HashMap<Client, (f64, Instant)>>>);

impl Requests {
    /// Counts a request. If there are too many, how long to wait before the next.
    pub(super) fn take(&self, client: Client, now: Instant) -> Result<(), Duration> {
        let mut buckets = lock(&self.0);
        let level = |(tokens, since): &(f64, Instant)| {
            (tokens + now.saturating_duration_since(*since).as_secs_f64() * RATE).min(BURST)
        };
        if buckets.len() >= COUNTED {
            buckets.retain(|_, bucket| level(bucket) < BURST);
        }
        let bucket = buckets.entry(client).or_insert((BURST, now));
        let tokens = level(bucket);
        if tokens < 1.0 {
            *bucket = (tokens, now);
            return Err(Duration::from_secs_f64((1.0 - tokens) / RATE));
        }
        *bucket = (tokens - 1.0, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_does_not_take_all_connections() {
        let connections = Connections::default();
        let taken: Vec<_> = std::iter::from_fn(|| connections.open(1000)).collect();
        assert_eq!(taken.len(), CONNECTIONS_OF_USER);
        assert!(connections.open(1001).is_some() && connections.open(0).is_some());
        drop(taken);
        assert!(connections.open(1000).is_some());
    }

    #[test]
    fn requests_come_back_with_time() {
        let (requests, now) = (Requests::default(), Instant::now());
        let client = Client::User(1000);
        assert_eq!((0..1000).filter(|_| requests.take(client, now).is_ok()).count(), BURST as usize);
        let wait = requests.take(client, now).expect_err("too many");
        assert!(requests.take(Client::User(1001), now).is_ok());
        assert!(requests.take(client, now + wait).is_ok() && requests.take(client, now + wait).is_err());
    }
}
