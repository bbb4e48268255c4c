//! Level `compat`: as much of a policy's file rules as Landlock can say.
//!
//! A Landlock ruleset only allows, for a file or for a directory with everything below it, and is bound to what
//! exists when it is applied. So a plan is never wider than the policy in the operations Landlock mediates, except
//! for the rules it lists as unenforceable; what it never mediates is in [`NOT_MEDIATED`].

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use agentguard_common::file::Access;
use anyhow::{Context, Result, bail, ensure};
use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};

use super::expand;
use crate::policy::glob::Glob;
use crate::policy::model::{Effect, FileRule, Policy, RuleSource, Tool};

/// Operations that policies name and no Landlock rule of this version restricts.
pub const NOT_MEDIATED: &[&str] = &[
    "connecting to Unix sockets by path",
    "changing attributes (chmod, chown, utimes, xattr)",
    "mapping a readable file executable",
    "hard links within one directory, where creating is allowed",
];

/// What Landlock is to allow, and what it can't do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Directories, allowed with everything below them.
    pub rules: Vec<(PathBuf, Access)>,
    /// Single files.
    pub exact: Vec<(PathBuf, Access)>,
    /// Rules that this plan breaks.
    pub unenforceable: Vec<Unenforceable>,
    /// Where the plan is stricter than the policy, for people.
    pub notes: Vec<String>,
}

/// A rule that Landlock can't enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unenforceable {
    pub rule: RuleSource,
    /// The rule as written: `deny read "**/.env"`.
    pub text: String,
    pub why: String,
}

/// What [`apply`] put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The kernel's Landlock ABI.
    pub abi: i32,
    /// Rights that this kernel does not know, and so does not restrict.
    pub missing: Vec<&'static str>,
    /// Whether abstract Unix sockets and signals to the outside are cut.
    pub scoped: bool,
    /// Allow rules without effect, because the path is missing or leads through a symbolic link.
    pub skipped: Vec<PathBuf>,
}

/// Accesses by path.
type Grants = BTreeMap<PathBuf, Access>;

/// A plan in the making.
#[derive(Default)]
struct Draft {
    trees: Grants,
    files: Grants,
    notes: Vec<String>,
}

/// Translates a policy's file rules. Looks at the file system, changes nothing.
#[must_use]
pub fn plan(policy: &Policy) -> Plan {
    let mut draft = Draft::default();
    let mut unenforceable = Vec::new();
    let (allows, others): (Vec<_>, Vec<_>) = policy.files.iter().partition(|r| r.effect == Effect::Allow);
    for rule in allows {
        if let Err(e) = draft.allow(rule) {
            draft.note(rule, format_args!("allows nothing: {e:#}"));
        }
    }
    for rule in others {
        if let Err(why) = draft.refuse(rule) {
            let why = format!("{why:#}");
            unenforceable.push(Unenforceable { rule: rule.source.clone(), text: text(rule), why });
        } else if rule.effect == Effect::Ask {
            draft.note(rule, format_args!("Landlock cannot ask, so it denies"));
        }
    }
    unenforceable.extend(policy.tools.iter().map(tool));
    let useful = |grants: Grants| grants.into_iter().filter(|(_, a)| !fs_rights(*a).is_empty()).collect();
    Plan { rules: useful(draft.trees), exact: useful(draft.files), unenforceable, notes: draft.notes }
}

/// An identity of its own needs a hook at exec, which Landlock has not.
fn tool(tool: &Tool) -> Unenforceable {
    let text = format!("tool {} {:?}", tool.name, tool.globs);
    let why = "Landlock cannot narrow a program when it is executed".into();
    Unenforceable { rule: tool.source.clone(), text, why }
}

fn grant(grants: &mut Grants, path: PathBuf, more: Access) {
    let access = grants.entry(path).or_default();
    *access = access.union(more);
}

impl Draft {
    /// Notes something once per place, as the alternatives of a glob often share it.
    fn note(&mut self, rule: &FileRule, what: fmt::Arguments<'_>) {
        let note = format!("{}:{}: {what}", rule.source.document, rule.source.line);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn allow(&mut self, rule: &FileRule) -> Result<()> {
        let globs = expand::globs(rule)?;
        if globs.is_empty() {
            self.note(rule, format_args!("allows nothing: Landlock cuts all abstract sockets of others off"));
        }
        for glob in globs {
            if let Some(path) = glob.literal() {
                self.allow_path(rule, path, glob.tail);
                continue;
            }
            self.note(rule, format_args!("holds for what exists at start"));
            for path in expand::expand(&glob)? {
                self.allow_path(rule, path, glob.tail);
            }
        }
        Ok(())
    }

    fn allow_path(&mut self, rule: &FileRule, path: PathBuf, tree: bool) {
        let why = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => "is a symbolic link, which no rule of Landlock follows",
            Ok(meta) if meta.is_dir() && tree => return grant(&mut self.trees, path, rule.access),
            Ok(meta) if meta.is_dir() => "is a directory, which Landlock allows only as a tree",
            Ok(_) => return grant(&mut self.files, path, rule.access),
            Err(e) if e.kind() == io::ErrorKind::NotFound => "does not exist",
            Err(_) => "cannot be looked at",
        };
        self.note(rule, format_args!("{} {why}", path.display()));
    }

    /// Takes the accesses of a deny or ask rule out; says why if that does not work.
    fn refuse(&mut self, rule: &FileRule) -> Result<()> {
        let globs = expand::globs(rule)?;
        if globs.is_empty() {
            return Ok(()); // abstract sockets of others are cut off without exception
        }
        ensure!(rule.access != Access::CONNECT, "Landlock does not mediate Unix sockets by path");
        let denied = rule.access.without(Access::CONNECT);
        let mut overlap = false;
        for glob in globs {
            overlap |= !self.take_from_trees(&glob, denied);
            for (_, access) in self.files.iter_mut().filter(|(path, _)| expand::matches(&glob, path)) {
                *access = access.without(denied);
            }
        }
        ensure!(!overlap, "Landlock cannot deny inside an allowed directory");
        Ok(())
    }

    /// False if some tree would keep a denied access inside.
    fn take_from_trees(&mut self, glob: &Glob, denied: Access) -> bool {
        // Creating implies hard links within the directory.
        let given = |a: Access| if a.contains(Access::CREATE) { a.union(Access::LINK) } else { a };
        let whole = glob.literal().filter(|_| glob.tail);
        let mut complete = true;
        for (dir, access) in &mut self.trees {
            if whole.as_ref().is_some_and(|tree| dir.starts_with(tree)) {
                let also = if denied.contains(Access::LINK) { Access::CREATE } else { Access::NONE };
                *access = access.without(denied.union(also));
            } else if !disjoint(given(*access), denied) && expand::may_match_below(glob, dir) {
                complete = false;
            }
        }
        complete
    }
}

fn disjoint(a: Access, b: Access) -> bool {
    a.0 & b.0 == 0
}

/// The rule as people write it.
pub(super) fn text(rule: &FileRule) -> String {
    let effect = match rule.effect {
        Effect::Allow => "allow",
        Effect::Ask => "ask",
        Effect::Deny => "deny",
    };
    let names: Vec<_> =
        Access::NAMED.iter().filter(|(_, a)| rule.access.contains(*a)).map(|(n, _)| *n).collect();
    let names = if rule.access.contains(Access::ALL) { "all".to_owned() } else { names.join(",") };
    format!("{effect} {names} {:?}", rule.glob)
}

/// Landlock's rights for a set of accesses. `CONNECT` has none.
fn fs_rights(access: Access) -> BitFlags<AccessFs> {
    use AccessFs as A;
    let make = A::MakeChar | A::MakeDir | A::MakeReg | A::MakeSock | A::MakeFifo | A::MakeBlock | A::MakeSym;
    let table = [
        (Access::READ, A::ReadFile | A::ReadDir),
        (Access::WRITE, A::WriteFile | A::Truncate | A::IoctlDev),
        (Access::CREATE, make),
        (Access::DELETE, A::RemoveDir | A::RemoveFile),
        (Access::EXEC, A::Execute.into()),
        // Also moves between directories: without `link` those fail with EXDEV, and `mv` copies.
        (Access::LINK, A::Refer.into()),
    ];
    let granted = table.into_iter().filter(|(mode, _)| access.contains(*mode));
    granted.fold(BitFlags::EMPTY, |all, (_, rights)| all | rights)
}

/// The kernel's Landlock ABI, or why there is none.
///
/// # Errors
///
/// If Landlock is not built in or was disabled at boot.
pub fn kernel_abi() -> io::Result<i32> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with the VERSION flag the kernel takes a null pointer and size 0, and touches no memory.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    if abi < 1 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(abi).unwrap_or(i32::MAX)) }
}

/// Restricts this thread, and all it starts from now on, to the plan. Sets no-new-privs. There is no way back.
///
/// # Errors
///
/// If any right that this kernel knows could not be put in force.
pub fn apply(plan: &Plan) -> Result<Status> {
    let abi = kernel_abi().context("this kernel has no Landlock")?;
    let known = match abi {
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        _ => ABI::V5,
    };
    let handled = <AccessFs as landlock::Access>::from_all(known);
    let scoped = abi >= 6;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(handled)
        .context("Landlock refuses the file access rights")?;
    if scoped {
        let scopes = <Scope as landlock::Access>::from_all(ABI::V6);
        ruleset = ruleset.scope(scopes).context("Landlock refuses the scopes")?;
    }
    let mut ruleset = ruleset.create().context("cannot create a Landlock ruleset")?;
    let mut skipped = Vec::new();
    let trees = plan.rules.iter().map(|r| (r, true));
    for ((path, access), tree) in trees.chain(plan.exact.iter().map(|r| (r, false))) {
        let (fd, is_dir) = match open(path) {
            Ok(Some(opened)) => opened,
            // This user could not use what it cannot reach.
            Ok(None) | Err(Errno::EACCES) => {
                skipped.push(path.clone());
                continue;
            }
            Err(e) => return Err(e).with_context(|| format!("cannot open {}", path.display())),
        };
        // A rule on a directory is a rule on its tree, so a file that became a directory gets none.
        let on_file = <AccessFs>::from_file(known);
        let rights = fs_rights(*access) & handled & if is_dir { handled } else { on_file };
        if is_dir != tree || rights.is_empty() {
            skipped.push(path.clone());
            continue;
        }
        ruleset = ruleset
            .add_rule(PathBeneath::new(fd.as_fd(), rights))
            .with_context(|| format!("cannot add a Landlock rule for {}", path.display()))?;
    }
    let got = ruleset.restrict_self().context("Landlock refuses the ruleset")?;
    ensure!(got.no_new_privs, "no-new-privs is not set");
    if got.ruleset != RulesetStatus::FullyEnforced {
        bail!("Landlock ABI {abi} reports {:?} for {handled:?}", got.ruleset);
    }
    let newer = [(2, "moves and links between directories"), (3, "truncate"), (5, "device ioctl")];
    let missing = newer.into_iter().filter(|(since, _)| abi < *since).map(|(_, name)| name).collect();
    Ok(Status { abi, missing, scoped, skipped })
}

/// Opens a path as a handle, without going through symbolic links: policies speak of resolved paths, and a link
/// could be turned elsewhere by its owner. `None` if there is no such path.
pub(super) fn open(path: &Path) -> nix::Result<Option<(OwnedFd, bool)>> {
    let how =
        OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let fd = match openat2(nix::fcntl::AT_FDCWD, path, how) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mode = fstat(&fd)?.st_mode;
    Ok(Some((fd, SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR)))
}

#[cfg(test)]
#[path = "landlock_tests.rs"]
mod tests;
