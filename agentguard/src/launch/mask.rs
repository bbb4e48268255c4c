//! Denied files inside allowed directories, covered in a private mount namespace.
//!
//! Only what exists at start is covered, by path: a file that gets a denied name later, and another hard link to a
//! covered file, are not. So the rules stay listed as unenforceable.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use agentguard_common::file::Access;
use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};

use super::expand;
use super::landlock::{Plan, open, text};
use crate::policy::glob::Glob;
use crate::policy::model::{Effect, FileRule, Policy};

/// Covers every existing file and directory that the plan would let the agent read against a deny rule.
///
/// Moves the calling thread into a new mount namespace if there is anything to cover. Needs root. An opened
/// device node on a `nodev` mount is refused for everybody, root included, so that is what covers a file; an empty
/// directory covers a directory. Returns what is covered.
///
/// # Errors
///
/// If the search or a mount fails; the agent must not be started then.
pub fn mask(policy: &Policy, plan: &Plan) -> Result<Vec<PathBuf>> {
    let targets = find(policy, plan)?;
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    unshare(CloneFlags::CLONE_NEWNS).context("cannot create a mount namespace")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .context("cannot make mounts private")?;
    let holder =
        tempfile::Builder::new().prefix("agentguard-mask-").tempdir().context("private directory")?;
    let covers = Covers::new(holder.path())?;
    let done = targets.iter().try_for_each(|path| covers.cover(path));
    // The covers stay; only the way to their source goes.
    let gone = umount2(holder.path(), MntFlags::MNT_DETACH).context("cannot detach the source of the covers");
    done.and(gone)?;
    Ok(targets)
}

/// What [`mask`] would cover: sorted, without anything below a covered directory.
///
/// # Errors
///
/// If there are more than `expand::MAX_ENTRIES` files to look at, or a directory can't be read.
pub fn find(policy: &Policy, plan: &Plan) -> Result<Vec<PathBuf>> {
    let readable: Vec<_> =
        plan.rules.iter().filter(|(_, a)| a.contains(Access::READ)).map(|(p, _)| p.as_path()).collect();
    let (literal, wild): (Vec<_>, Vec<_>) =
        denied(policy, plan)?.into_iter().partition(|g| g.literal().is_some());
    let mut found = Vec::new();
    for glob in literal {
        let Some(path) = glob.literal() else { continue };
        // A literal rule on a directory speaks of the directory alone, which a cover would overdo.
        if readable.iter().any(|dir| path.starts_with(dir))
            && let Some((_, is_dir)) = opened(&path)?
            && (!is_dir || glob.tail)
        {
            found.push(path);
        }
    }
    if !wild.is_empty() {
        search(&wild, &readable, &mut found)?;
    }
    found.sort();
    // Sorted by component, so whatever is below a path follows it.
    found.dedup_by(|later, kept| later.starts_with(kept));
    Ok(found)
}

/// Globs of the deny rules that the plan leaves readable.
fn denied(policy: &Policy, plan: &Plan) -> Result<Vec<Glob>> {
    let listed =
        |rule: &FileRule| plan.unenforceable.iter().any(|u| u.rule == rule.source && u.text == text(rule));
    let rules = policy
        .files
        .iter()
        .filter(|r| r.effect == Effect::Deny && r.access.contains(Access::READ) && listed(r));
    let globs: Result<Vec<_>> = rules.map(expand::globs).collect();
    Ok(globs?.into_iter().flatten().collect())
}

/// Adds what matches one of `globs` in a readable directory, and nothing below what matched.
fn search(globs: &[Glob], readable: &[&Path], found: &mut Vec<PathBuf>) -> Result<()> {
    // What is below a match is not visited, so that beyond the roots only bodies need to be matched.
    let bodies: Vec<_> = globs.iter().map(|g| (g.body(), g.tail)).collect();
    let mut budget = expand::MAX_ENTRIES;
    let nested = |dir: &Path| readable.iter().any(|other| *other != dir && dir.starts_with(other));
    for root in readable.iter().filter(|dir| !nested(dir)) {
        if globs.iter().any(|g| g.tail && expand::matches(g, root)) {
            found.push(root.to_path_buf());
            continue;
        }
        expand::walk(root, &mut budget, &mut |path, is_dir| {
            let hit = bodies.iter().any(|(g, tree)| (*tree || !is_dir) && expand::matches(g, path));
            if hit {
                found.push(path.to_owned());
            }
            !hit
        })?;
    }
    Ok(())
}

/// The two things that cover: a node that can't be opened, and an empty directory.
struct Covers {
    node: PathBuf,
    directory: PathBuf,
}

impl Covers {
    /// Makes them in a small file system mounted on `holder`.
    fn new(holder: &Path) -> Result<Self> {
        let safe = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let tmpfs = Some("tmpfs");
        mount(tmpfs, holder, tmpfs, safe, Some("size=64k,nr_inodes=8,mode=0700"))
            .context("cannot mount tmpfs")?;
        let made = Self { node: holder.join("node"), directory: holder.join("directory") };
        mknod(&made.node, SFlag::S_IFCHR, Mode::empty(), 0).context("cannot make the covering node")?;
        nix::unistd::mkdir(&made.directory, Mode::empty()).context("cannot make the covering directory")?;
        let read_only = safe | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, holder, None::<&str>, read_only, None::<&str>)
            .context("cannot make it read-only")?;
        Ok(made)
    }

    /// Covers `path`, unless it is gone.
    fn cover(&self, path: &Path) -> Result<()> {
        let Some((fd, is_dir)) = opened(path)? else {
            // Gone, or replaced by a symbolic link, which leads to what its own path says.
            return Ok(());
        };
        let source = if is_dir { &self.directory } else { &self.node };
        mount(Some(source), &through(&fd), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("cannot cover {}", path.display()))?;
        let (now, _) = opened(path)?.with_context(|| format!("{} vanished", path.display()))?;
        let same = |a: &OwnedFd, b: &Path| -> Result<bool> {
            let (a, b) = (nix::sys::stat::fstat(a)?, nix::sys::stat::stat(b)?);
            Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
        };
        ensure!(same(&now, source)?, "{} changed while it was covered", path.display());
        Ok(())
    }
}

/// [`open`], with the path in the error.
fn opened(path: &Path) -> Result<Option<(OwnedFd, bool)>> {
    open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// A name for exactly the object that `fd` holds.
fn through(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;

    use super::*;
    use crate::launch::landlock::plan;
    use crate::launch::testing::{in_child, is_root, policy};

    #[test]
    fn a_tree_below_a_denied_directory_is_covered_whole() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let inner = dir.path().canonicalize().expect("exists").join(".ssh/inner");
        fs::create_dir_all(&inner).expect("mkdir");
        fs::write(inner.join("f"), "x").expect("write");
        let tree = format!("{}/**", inner.display());
        let policy =
            policy(&[(Effect::Allow, &tree, Access::ALL), (Effect::Deny, "**/.ssh/**", Access::ALL)]);
        assert_eq!(find(&policy, &plan(&policy)).expect("walk"), [inner]);
    }

    #[test]
    fn denied_files_are_covered_for_root_too() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().canonicalize().expect("exists");
        fs::create_dir_all(root.join("sub/.ssh")).expect("mkdir");
        for name in [".env", "sub/.env", "sub/.ssh/id", "plain", "named"] {
            fs::write(root.join(name), "x").expect("write");
        }
        let tree = format!("{}/**", root.display());
        let named = format!("{}/named", root.display());
        let policy = policy(&[
            (Effect::Allow, &tree, Access::ALL),
            (Effect::Deny, "**/.env", Access::ALL),
            (Effect::Deny, "**/.ssh/**", Access::READ),
            (Effect::Deny, &named, Access::READ),
            (Effect::Deny, "**/plain", Access::WRITE),
        ]);
        let plan = plan(&policy);
        let want = [".env", "named", "sub/.env", "sub/.ssh"].map(|n| root.join(n));
        assert_eq!(find(&policy, &plan).expect("walk"), want);
        if !is_root() {
            return;
        }
        in_child(|| {
            let masked = mask(&policy, &plan).expect("root may mount");
            let denied =
                |n: &str| fs::read(root.join(n)).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
            masked == want
                && [".env", "named", "sub/.env"].into_iter().all(denied)
                && fs::read_dir(root.join("sub/.ssh")).is_ok_and(|mut d| d.next().is_none())
                && fs::write(root.join("sub/.ssh/new"), "").is_err()
                && fs::remove_file(root.join(".env")).is_err()
                && fs::rename(root.join("plain"), root.join(".env")).is_err()
                && fs::read(root.join("plain")).is_ok()
        });
        assert!(fs::read(root.join(".env")).is_ok(), "the covers leaked out of the namespace");
    }
}
