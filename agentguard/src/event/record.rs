//! The event as a consumer reads it: one JSON object a line.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::line;
use super::plain::is_plain;
use crate::clock;

/// One event. Absent facts are left out.
///
/// In three parts, because the middle one is the same for all events of an invocation, and rendered once for many.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Record<'a> {
    #[serde(flatten)]
    pub when: When<'a>,
    #[serde(flatten)]
    pub whose: Whose,
    #[serde(flatten)]
    pub what: What<'a>,
}

/// When it happened.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct When<'a> {
    /// UTC, RFC 3339.
    pub time: Cow<'a, str>,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// Per-invocation sequence number, taken in the kernel; a gap is a loss. Absent on the daemon's own records.
    pub seq: Option<u64>,
}

impl When<'_> {
    /// For a record of the daemon's own.
    #[must_use]
    pub fn now() -> Self {
        Self { time: clock::utc_now().into(), boot_ns: clock::boot_ns(), seq: None }
    }
}

/// In which invocation, and under whose authority.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Whose {
    pub invocation: String,
    pub agent: String,
    pub principal: String,
    /// What the run is for, by whoever hands out work.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub purpose: String,
    /// Who handed authority on to this invocation, from the first one to its parent; absent for the first one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delegation: Vec<Step>,
    pub policy: String,
    pub policy_digest: String,
    /// Enforcement level.
    pub level: String,
    /// The level cannot enforce the whole policy.
    pub degraded: bool,
}

/// What was asked or happened, and the decision.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct What<'a> {
    pub action: Cow<'a, str>,
    /// Path (bytes that are not printable UTF-8 are escaped as `\xNN`) or address.
    pub object: Cow<'a, str>,
    /// Access modes wanted, for files.
    pub access: Vec<Cow<'a, str>>,
    pub decision: Cow<'a, str>,
    pub reason: Cow<'a, str>,
    pub rule: Option<Rule>,
    pub errno: Option<Cow<'a, str>>,
    pub process: Option<Process<'a>>,
    /// More about the action: the child of a fork, an exit code, counts.
    pub detail: Detail<'a>,
}

type Named<'a> = (Cow<'a, str>, Value);

/// Named values, few of them, in the order in which they were added.
#[derive(Clone, Default)]
pub struct Detail<'a> {
    /// As many as events have: they cost no allocation.
    first: [Option<Named<'a>>; 2],
    more: Vec<Named<'a>>,
}

impl<'a> Detail<'a> {
    /// Adds a value under a name that is not there yet.
    pub fn insert(&mut self, name: impl Into<Cow<'a, str>>, value: Value) {
        let named = (name.into(), value);
        match self.first.iter_mut().find(|free| free.is_none()) {
            Some(free) => *free = Some(named),
            None => self.more.push(named),
        }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first[0].is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Named<'a>> {
        self.first.iter().flatten().chain(&self.more)
    }
}

impl fmt::Debug for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, value))).finish()
    }
}

impl<'de> Deserialize<'de> for Detail<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;

        impl<'de> Visitor<'de> for Values {
            type Value = Detail<'static>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut detail = Detail::default();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    detail.insert(name, value);
                }
                Ok(detail)
            }
        }

        deserializer.deserialize_map(Values)
    }
}

/// An invocation that handed authority on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Step {
    pub agent: String,
    pub invocation: String,
}

/// The rule that decided.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rule {
    /// The rule as written.
    pub text: String,
    /// The policy that decided, where that is one of those that authority was handed on under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Document and line; absent for default deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the rule allows, so that a refusal is not its doing.
    #[serde(skip)]
    pub(super) allows: bool,
}

/// Who did it. Ids are those of the initial PID namespace.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Process<'a> {
    pub pid: u32,
    pub tid: u32,
    pub ppid: u32,
    pub exe: Option<Cow<'a, str>>,
    pub comm: Cow<'a, str>,
    pub uid: u32,
    pub gid: u32,
    pub cgroup: u64,
}

/// What many records have in common, as it stands in their lines.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Of [`Whose`], with a comma before it.
    pub(super) text: Vec<u8>,
    /// Of the last [`Process`].
    pub(super) actor: Option<(Actor, Vec<u8>)>,
}

/// User, group and cgroup of a process.
pub(super) type Actor = (u32, u32, u64);

impl Whose {
    /// This part of a record, for [`add_line`].
    ///
    /// # Errors
    /// Never, since these are strings.
    pub fn render(&self) -> serde_json::Result<Rendered> {
        let mut text = serde_json::to_vec(self)?;
        text[0] = b','; // the brace that opens
        text.pop();
        Ok(Rendered { text, actor: None })
    }
}

/// Adds the line of a record in three parts to `lines`, or nothing.
///
/// # Errors
/// When a part is no JSON.
pub fn add_line(
    lines: &mut Vec<u8>,
    when: &When<'_>,
    whose: &mut Rendered,
    what: &What<'_>,
) -> serde_json::Result<()> {
    let start = lines.len();
    let added = line::add(lines, when, whose, what);
    if added.is_err() {
        lines.truncate(start);
    }
    added
}

impl Record<'_> {
    /// Adds its line to `lines`, or nothing.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn add_line(&self, lines: &mut Vec<u8>) -> serde_json::Result<()> {
        add_line(lines, &self.when, &mut self.whose.render()?, &self.what)
    }
}

/// Escapes a path for people and logs.
#[must_use]
pub fn printable(bytes: &[u8]) -> Cow<'_, str> {
    if is_plain(bytes) {
        // SAFETY: ASCII.
        return Cow::Borrowed(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn newlines_and_bad_bytes_are_escaped() {
        assert_eq!(printable(b"/a\n\xff/\xc3\xa9"), "/a\\n\\xff/\u{e9}");
        assert_eq!(printable(b"/a\\b"), "/a\\\\b");
        assert!(matches!(printable(b"/a b~"), Cow::Borrowed("/a b~")));
    }

    #[test]
    fn what_is_kept_rendered_is_told_of_nobody_else() {
        let mut whose = Whose::default().render().expect("JSON");
        for (uid, gid, cgroup) in [(1, 2, 3), (1, 2, 3), (4, 2, 3), (4, 5, 3), (4, 5, 6), (1, 2, 3)] {
            let process = Process { uid, gid, cgroup, ..Process::default() };
            let what = What { process: Some(process), ..What::default() };
            let mut line = Vec::new();
            add_line(&mut line, &When::default(), &mut whose, &what).expect("JSON");
            let read: Record<'_> = serde_json::from_slice(&line).expect("a record");
            let process = read.what.process.expect("a process");
            assert_eq!((process.uid, process.gid, process.cgroup), (uid, gid, cgroup));
        }
    }

    #[test]
    fn a_line_has_all_parts_in_order_and_can_be_read() {
        let rule = Rule {
            text: "deny [read] /x".into(),
            document: Some("p.yaml".into()),
            line: Some(3),
            ..Rule::default()
        };
        let process =
            Process { pid: 2, tid: 3, exe: Some("/bin/sh".into()), comm: "sh".into(), ..Process::default() };
        let mut record = Record {
            when: When { time: "2026-11-28T00:00:00.000000Z".into(), boot_ns: 5, seq: Some(7) },
            whose: Whose { invocation: "id".into(), agent: "a \"b\"".into(), ..Whose::default() },
            what: What {
                action: "open".into(),
                object: "/x\\\u{1}".into(),
                access: vec!["read".into(), "write".into()],
                decision: "deny".into(),
                reason: "rule".into(),
                rule: Some(rule),
                errno: Some("EACCES".into()),
                process: Some(process),
                detail: Detail::default(),
            },
        };
        record.what.detail.insert("child_pid", json!(3));
        record.what.detail.insert("a", json!(["b"]));
        let line = r#"{"time":"2026-11-28T00:00:00.000000Z","boot_ns":5,"seq":7,"#.to_owned()
            + r#""invocation":"id","agent":"a \"b\"","principal":"","policy":"","policy_digest":"","level":"","#
            + r#""degraded":false,"action":"open","object":"/x\\\u0001","access":["read","write"],"#
            + r#""decision":"deny","reason":"rule","rule":{"text":"deny [read] /x","document":"p.yaml","line":3},"#
            + r#""errno":"EACCES","process":{"pid":2,"tid":3,"ppid":0,"exe":"/bin/sh","comm":"sh","uid":0,"gid":0,"#
            + r#""cgroup":0},"detail":{"child_pid":3,"a":["b"]}}"#;
        let mut lines = b"{}\n".to_vec();
        record.add_line(&mut lines).expect("JSON");
        assert_eq!(String::from_utf8(lines).expect("UTF-8"), format!("{{}}\n{line}\n"));
        let read: Record<'_> = serde_json::from_str(&line).expect("a record");
        assert_eq!(format!("{read:?}"), format!("{record:?}"));
    }
}
