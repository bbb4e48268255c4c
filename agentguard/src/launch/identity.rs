//! The Unix user an agent runs as.

use std::ffi::{CString, OsString};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{self, Gid, Uid, User};

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAs {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: PathBuf,
    /// Login name.
    pub user: String,
}

/// The user to run an agent as: `run_as` (a name or a UID) if given, the user who called `sudo` if this process
/// is root through it, else the current user.
///
/// # Errors
///
/// If the user does not exist or `SUDO_UID` or `SUDO_GID` is no number.
pub fn invoking_user(run_as: Option<&str>) -> Result<RunAs> {
    if let Some(name) = run_as {
        let mut user = User::from_name(name)?;
        if user.is_none()
            && let Ok(uid) = name.parse()
        {
            user = User::from_uid(Uid::from_raw(uid))?;
        }
        return described(user.with_context(|| format!("no user {name:?}"))?);
    }
    let uid = if unistd::geteuid().is_root() { sudo_id("SUDO_UID")? } else { None };
    let by_sudo = uid.is_some();
    let uid = uid.map_or_else(unistd::geteuid, Uid::from_raw);
    let user = User::from_uid(uid)?.with_context(|| format!("UID {uid} has no passwd entry"))?;
    let mut who = described(user)?;
    if by_sudo {
        who.gid = sudo_id("SUDO_GID")?.unwrap_or(who.gid);
    } else {
        who.gid = unistd::getegid().as_raw();
        who.groups = unistd::getgroups()?.iter().map(|g| g.as_raw()).collect();
    }
    Ok(who)
}

fn sudo_id(name: &str) -> Result<Option<u32>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text.parse().with_context(|| format!("{name}={text:?} is not a number"))?)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(e) => bail!("{name}: {e}"),
    }
}

fn described(user: User) -> Result<RunAs> {
    let name = CString::new(user.name.as_bytes())?;
    let groups = unistd::getgrouplist(&name, user.gid).context("cannot list the user's groups")?;
    Ok(RunAs {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.iter().map(|g| g.as_raw()).collect(),
        home: user.dir,
        user: user.name,
    })
}

/// The variables that name a user, where they are set, made to name `who` if that is not the current user: programs
/// fail on the settings of a home that they can't read.
pub fn login_variables(
    who: &RunAs,
    vars: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    let changes = who.uid != unistd::geteuid().as_raw();
    let (home, user) = (who.home.clone().into_os_string(), OsString::from(&who.user));
    vars.map(move |(name, value)| match name.to_str() {
        Some("HOME") if changes => (name, home.clone()),
        Some("USER" | "LOGNAME") if changes => (name, user.clone()),
        _ => (name, value),
    })
}

/// Becomes `who` for good: groups, then GID, then UID, and checks that there is no way back.
///
/// # Errors
///
/// If any step fails. The process may then be half changed and must exit.
pub fn drop_to(who: &RunAs) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    let groups: Vec<_> = who.groups.iter().copied().map(Gid::from_raw).collect();
    if unistd::geteuid().is_root() {
        unistd::setgroups(&groups).context("setgroups")?;
    }
    unistd::setresgid(gid, gid, gid).with_context(|| format!("cannot become group {gid}"))?;
    unistd::setresuid(uid, uid, uid).with_context(|| format!("cannot become user {uid}"))?;

    let (u, g) = (unistd::getresuid()?, unistd::getresgid()?);
    ensure!([u.real, u.effective, u.saved] == [uid; 3], "the kernel kept another user ID: {u:?}");
    ensure!([g.real, g.effective, g.saved] == [gid; 3], "the kernel kept another group ID: {g:?}");
    let sorted = |mut ids: Vec<u32>| {
        ids.push(who.gid);
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let kept = unistd::getgroups()?.iter().map(|g| g.as_raw()).collect();
    ensure!(sorted(kept) == sorted(who.groups.clone()), "the kernel kept other supplementary groups");
    ensure!(uid.is_root() || unistd::setuid(Uid::from_raw(0)).is_err(), "root could be regained");
    Ok(())
}

/// Gives up privileges gained by exec (set-user-ID bits, file capabilities), for this process and all it starts.
///
/// # Errors
///
/// If the kernel refuses.
pub fn no_new_privs() -> std::io::Result<()> {
    // SAFETY: takes integers only.
    let rc = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{in_child, is_root};

    #[test]
    fn an_unknown_user_is_an_error() {
        assert!(invoking_user(Some("no-such-user-here")).is_err());
    }

    #[test]
    fn a_user_is_found_by_name_and_number() {
        let root = invoking_user(Some("root")).expect("root exists");
        assert_eq!((root.uid, root.user.as_str()), (0, "root"));
        assert_eq!(invoking_user(Some("0")).expect("UID 0 exists"), root);
    }

    #[test]
    fn another_user_gets_a_home_of_its_own() {
        let who = |uid| RunAs { uid, gid: 1, groups: vec![], home: "/h".into(), user: "u".into() };
        let vars = || [("HOME", "/root"), ("USER", "root"), ("X", "y")].map(|(k, v)| (k.into(), v.into()));
        let values = |uid| login_variables(&who(uid), vars().into_iter()).map(|(_, v)| v).collect::<Vec<_>>();
        let own = unistd::geteuid().as_raw();
        assert_eq!(values(own), ["/root", "root", "y"]);
        assert_eq!(values(own + 1), ["/h", "u", "y"]);
    }

    #[test]
    fn root_is_given_up_for_good() {
        if !is_root() {
            return;
        }
        in_child(|| {
            let who = RunAs {
                uid: 65534,
                gid: 65534,
                groups: vec![65534],
                home: "/".into(),
                user: "nobody".into(),
            };
            drop_to(&who).is_ok() && std::fs::File::open("/etc/shadow").is_err() && drop_to(&who).is_ok()
        });
    }

    #[test]
    fn another_user_needs_root() {
        if !is_root() {
            return;
        }
        in_child(|| {
            let who =
                |id| RunAs { uid: id, gid: id, groups: vec![id], home: "/".into(), user: String::new() };
            drop_to(&who(65534)).is_ok() && drop_to(&who(1000)).is_err() && drop_to(&who(0)).is_err()
        });
    }

    #[test]
    fn no_new_privs_holds() {
        in_child(|| {
            // SAFETY: takes integers only.
            no_new_privs().is_ok() && unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) } == 1
        });
    }
}
