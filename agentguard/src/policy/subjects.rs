//! Who may start a run under a policy.
//!
//! Names are looked up when somebody asks, not when the policy is read: a policy that is in force must not become
//! unreadable because a user was removed, and a number that got another name must not keep the old one's rights.

use serde::{Deserialize, Serialize};

use super::PolicyError;

/// A user or a group as the document names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Who {
    Id(u32),
    Name(String),
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One of them, with its place in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub who: Who,
    /// Counted from 1.
    pub line: u64,
    pub column: u64,
}

/// Everybody who may start a run. One match is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subjects {
    pub users: Vec<Subject>,
    pub groups: Vec<Subject>,
}

/// Where names are looked up.
pub trait Directory {
    /// The number of a user, `None` if there is none of that name.
    ///
    /// # Errors
    /// When the answer is not known.
    fn user(&self, name: &str) -> Result<Option<u32>, String>;

    /// The number of a group, `None` if there is none of that name.
    ///
    /// # Errors
    /// When the answer is not known.
    fn group(&self, name: &str) -> Result<Option<u32>, String>;
}

/// The host's users and groups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl Directory for Host {
    fn user(&self, name: &str) -> Result<Option<u32>, String> {
        let found = nix::unistd::User::from_name(name).map_err(|e| e.to_string())?;
        Ok(found.map(|user| user.uid.as_raw()))
    }

    fn group(&self, name: &str) -> Result<Option<u32>, String> {
        let found = nix::unistd::Group::from_name(name).map_err(|e| e.to_string())?;
        Ok(found.map(|group| group.gid.as_raw()))
    }
}

/// Somebody may not start a run under a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("user {uid} may not start a run under this policy: it lets {named}{}", unknown.iter().map(|u| format!("; {u}")).collect::<String>())]
pub struct NotASubject {
    pub uid: u32,
    /// Whom the policy names.
    pub named: String,
    /// Names of the policy that are nobody's, or could not be looked up.
    pub unknown: Vec<String>,
}

impl Subjects {
    /// Whether somebody with this user and these groups (the primary one too) may start a run. Names are looked up now;
    /// a name that is nobody's, or that cannot be looked up, lets nobody in.
    ///
    /// # Errors
    /// When none of the subjects is the caller.
    pub fn may_start(&self, uid: u32, gids: &[u32], directory: &dyn Directory) -> Result<(), NotASubject> {
        let (mut unknown, mut found) = (Vec::new(), false);
        for (subject, is_user) in self.all() {
            match resolve(subject, is_user, directory) {
                Ok(id) => found |= if is_user { id == uid } else { gids.contains(&id) },
                Err(why) => unknown.push(why),
            }
        }
        if found { Ok(()) } else { Err(NotASubject { uid, named: self.named(), unknown }) }
    }

    /// Refuses a name that is nobody's now, as a mistake in `file`. For people who write or push a policy.
    ///
    /// # Errors
    /// The first unknown name, with its place.
    pub fn check(&self, file: &str, directory: &dyn Directory) -> Result<(), PolicyError> {
        for (subject, is_user) in self.all() {
            resolve(subject, is_user, directory).map_err(|message| PolicyError {
                file: file.to_owned(),
                line: subject.line,
                column: subject.column,
                message,
                hint: Some("a name that this host knows, or a number".into()),
            })?;
        }
        Ok(())
    }

    /// Each, and whether it is a user.
    fn all(&self) -> impl Iterator<Item = (&Subject, bool)> {
        self.users.iter().map(|s| (s, true)).chain(self.groups.iter().map(|s| (s, false)))
    }

    fn named(&self) -> String {
        let list = |kind: &str, subjects: &[Subject]| {
            let names: Vec<_> = subjects.iter().map(|s| s.who.to_string()).collect();
            (!names.is_empty()).then(|| format!("{kind} {}", names.join(", ")))
        };
        let kinds = [list("users", &self.users), list("groups", &self.groups)];
        kinds.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }
}

fn resolve(subject: &Subject, is_user: bool, directory: &dyn Directory) -> Result<u32, String> {
    let name = match &subject.who {
        Who::Id(id) => return Ok(*id),
        Who::Name(name) => name,
    };
    let (kind, found) =
        if is_user { ("user", directory.user(name)) } else { ("group", directory.group(name)) };
    match found {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(format!("no {kind} is called `{name}`")),
        Err(why) => Err(format!("{kind} `{name}` cannot be looked up: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Book;

    impl Directory for Book {
        fn user(&self, name: &str) -> Result<Option<u32>, String> {
            match name {
                "alice" => Ok(Some(1000)),
                "lost" => Err("timed out".into()),
                _ => Ok(None),
            }
        }

        fn group(&self, name: &str) -> Result<Option<u32>, String> {
            Ok((name == "dev").then_some(50))
        }
    }

    fn subjects(users: &[&str], groups: &[&str]) -> Subjects {
        let list = |names: &[&str]| {
            let who = |n: &str| n.parse().map_or_else(|_| Who::Name(n.into()), Who::Id);
            names.iter().map(|n| Subject { who: who(n), line: 7, column: 9 }).collect()
        };
        Subjects { users: list(users), groups: list(groups) }
    }

    #[test]
    fn one_match_is_enough_and_none_is_not() {
        let some = subjects(&["alice", "7"], &["dev", "60"]);
        for (uid, gids, may) in [
            (1000, &[][..], true),
            (7, &[], true),
            (8, &[1, 50], true),
            (8, &[60], true),
            (8, &[1000, 7], false),
            (50, &[8], false),
            (0, &[0], false),
        ] {
            assert_eq!(some.may_start(uid, gids, &Book).is_ok(), may, "{uid} {gids:?}");
        }
    }

    #[test]
    fn an_unknown_name_lets_nobody_in_and_is_said() {
        let refusal = subjects(&["bob", "lost"], &["ops"]).may_start(0, &[0], &Book).expect_err("refused");
        assert_eq!(
            refusal.to_string(),
            "user 0 may not start a run under this policy: it lets users bob, lost and groups ops; no user is \
             called `bob`; user `lost` cannot be looked up: timed out; no group is called `ops`"
        );
        assert!(subjects(&["bob", "alice"], &[]).may_start(1000, &[], &Book).is_ok());
    }

    #[test]
    fn a_check_points_at_the_unknown_name() {
        let error = subjects(&["alice", "7"], &["opps"]).check("t.yaml", &Book).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "t.yaml:7:9: no group is called `opps`\nhint: a name that this host knows, or a number"
        );
        assert!(subjects(&["alice", "7"], &["dev"]).check("t.yaml", &Book).is_ok());
    }

    #[test]
    fn the_host_knows_root() {
        assert_eq!(Host.user("root"), Ok(Some(0)));
        assert_eq!(Host.user("no-such-user"), Ok(None));
    }
}
