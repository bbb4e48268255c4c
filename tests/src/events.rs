//! The event log as a consumer reads it.

use std::path::PathBuf;

use serde_json::Value;

use crate::level::Level;
use crate::policy::Policy;
use crate::tail;

/// An event log.
#[derive(Clone, Debug)]
pub struct Log {
    path: PathBuf,
    /// Where reading starts.
    start: u64,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event(pub Value);

impl Log {
    pub(crate) const fn new(path: PathBuf, start: u64) -> Self {
        Self { path, start }
    }

    /// The log from its present end on. Where hundreds of agents write to one, reading all of it for each takes longer than
    /// the agents do.
    #[must_use]
    pub fn from_here(mut self) -> Self {
        // The daemon appends whole lines, each by one write.
        self.start = std::fs::metadata(&self.path).map_or(0, |data| data.len());
        self
    }

    fn text(&self) -> String {
        tail::text_after(&self.path, self.start)
    }

    fn parse(text: &str) -> Vec<Event> {
        Self::parse_of(text, "")
    }

    /// The events of one invocation. The other lines are not parsed, of which there are many where hundreds of agents
    /// write to one log.
    fn parse_of(text: &str, invocation: &str) -> Vec<Event> {
        // The daemon appends whole lines, but a read may see only the first part of one.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let events = whole.lines().filter(|line| line.contains(invocation)).map(|line| Event(parse(line)));
        events.filter(|e| invocation.is_empty() || e.invocation() == invocation).collect()
    }

    /// What was recorded so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        Self::parse(&self.text())
    }

    /// Waits for an event.
    pub fn wait(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        tail::until_after(&self.path, self.start, what, |text| {
            Self::parse(text).into_iter().find(|e| wanted(e))
        })
    }

    /// Waits for the daemon's record of `action` on an invocation: `start`, `revoke`, `expire`, `end`.
    pub fn lifecycle(&self, invocation: &str, action: &str) -> Event {
        let wanted = |e: &Event| e.text("/action") == action && e.0.get("seq").is_none();
        let what = format!("{action} of {invocation}");
        let named = format!("\"action\":\"{action}\""); // others, of which there may be many thousands, are not parsed
        tail::until_after(&self.path, self.start, &what, |text| {
            let lines = text.split_inclusive('\n').filter(|line| line.contains(&named));
            Self::parse_of(&lines.collect::<String>(), invocation).into_iter().find(wanted)
        })
    }

    /// Waits until the invocation is over, so that everything it did is recorded. Returns all its events.
    pub fn until_end(&self, invocation: &str) -> Vec<Event> {
        self.lifecycle(invocation, "end");
        self.of(invocation)
    }

    /// The events of an invocation so far.
    #[must_use]
    pub fn of(&self, invocation: &str) -> Vec<Event> {
        Self::parse_of(&self.text(), invocation)
    }

    /// Waits for the denial of a connection to `object`. Returns the digest of the policy version that decided.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn denial_with_digest(&self, invocation: &str, object: &str) -> String {
        let event = self.wait(&format!("denied connect to {object}"), |e| {
            e.invocation() == invocation && e.is_denial() && e.text("/object") == object
        });
        event.text("/policy_digest").to_owned()
    }

    /// Waits for the denial of `action` on `object`, and checks what every denial must say.
    #[track_caller]
    pub fn denial(&self, invocation: &str, action: &str, object: &str) -> Event {
        let what = format!("denied {action} of {object} by {invocation}");
        let wanted = |e: &Event| {
            let decision = e.text("/decision") == "deny";
            decision && e.text("/action") == action && e.text("/object") == object
        };
        let event = tail::until_after(&self.path, self.start, &what, |text| {
            Self::parse_of(text, invocation).into_iter().find(wanted)
        });
        let start = self.lifecycle(invocation, "start");
        for field in ["/policy", "/policy_digest", "/agent", "/principal", "/level", "/degraded"] {
            assert_eq!(event.0.pointer(field), start.0.pointer(field), "{field} of {event}");
        }
        event.check_denial();
        event
    }
}

impl Event {
    /// The text at a JSON pointer, "" if there is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number at a JSON pointer.
    #[must_use]
    pub fn number(&self, pointer: &str) -> Option<u64> {
        self.0.pointer(pointer).and_then(Value::as_u64)
    }

    #[must_use]
    pub fn invocation(&self) -> &str {
        self.text("/invocation")
    }

    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        self.number("/seq")
    }

    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.text("/decision") == "deny"
    }

    /// What holds for each denial of the kernel.
    #[track_caller]
    fn check_denial(&self) {
        assert_eq!(self.text("/level"), Level::expected().name(), "{self}");
        assert!(self.seq().is_some(), "no sequence number: {self}");
        assert!(self.number("/process/pid").is_some(), "no process: {self}");
        let digest = self.text("/policy_digest").strip_prefix("sha256:").unwrap_or_default();
        assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "digest of {self}");
        let errno = match (self.text("/action"), self.text("/reason")) {
            (_, "widening") => "EXDEV",
            ("open" | "exec" | "path" | "unix" | "use" | "map-exec", _) => "EACCES",
            _ => "EPERM",
        };
        assert_eq!(self.text("/errno"), errno, "{self}");
    }

    /// Checks that the rule on the line with `mark` decided.
    #[track_caller]
    pub fn by_rule(&self, policy: &Policy, mark: &str) -> &Self {
        assert_eq!(self.text("/rule/document"), policy.name, "{self}");
        assert_eq!(self.number("/rule/line"), Some(policy.line(mark)), "{self}");
        self.has_reason("rule")
    }

    /// Checks that no rule allowed it.
    #[track_caller]
    pub fn by_default(&self) -> &Self {
        assert!(self.text("/rule/text").starts_with("default deny"), "{self}");
        assert!(self.0.pointer("/rule/document").is_none(), "{self}");
        self.has_reason("no-rule")
    }

    /// Files and programs are denied by Landlock at level `compat`, and by the tables otherwise.
    #[track_caller]
    fn has_reason(&self, at_lsm: &str) -> &Self {
        let network = matches!(self.text("/action"), "connect" | "bind");
        let landlock = Level::expected() == Level::Compat && !network;
        assert_eq!(self.text("/reason"), if landlock { "landlock" } else { at_lsm }, "{self}");
        self
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
