//! Globs against the file system as it is now.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::statfs;

use crate::policy::glob::{self, Glob};
use crate::policy::model::FileRule;

/// Directory entries looked at before a walk gives up: some ten seconds, and far more than a large workspace holds.
pub(super) const MAX_ENTRIES: usize = 2_000_000;

/// The alternatives of a file rule's glob that speak of paths.
///
/// # Errors
///
/// If the glob is malformed. Loading a policy refuses such a rule, so this is for policies that came another way.
pub(super) fn globs(rule: &FileRule) -> Result<Vec<Glob>> {
    let mut globs = glob::parse(&rule.glob).map_err(|e| anyhow!("glob {:?}: {e}", rule.glob))?;
    globs.retain(|g| !g.is_abstract());
    Ok(globs)
}

/// Whether `glob` matches the path.
pub(super) fn matches(glob: &Glob, path: &Path) -> bool {
    glob.matches(path.as_os_str().as_bytes())
}

/// Whether some path in or below the directory `dir` can match `glob`. Errs towards yes.
pub(super) fn may_match_below(glob: &Glob, dir: &Path) -> bool {
    let prefix = glob.literal_prefix();
    let one_path = !glob.tail && glob.literal().is_some();
    prefix.starts_with(dir) || (!one_path && dir.starts_with(prefix))
}

/// Everything that exists and matches the body of `glob`, sorted. Symbolic links are neither followed nor returned.
///
/// # Errors
///
/// If the walk fails.
pub(super) fn expand(glob: &Glob) -> Result<Vec<PathBuf>> {
    let body = glob.body();
    // Nothing deeper than the glob itself can match. The root directory counts as a component.
    let depth = glob.depth().map_or(usize::MAX, |components| components + 1);
    let mut found = Vec::new();
    let mut budget = MAX_ENTRIES;
    walk(&glob.literal_prefix(), &mut budget, &mut |path, _| {
        if matches(&body, path) {
            found.push(path.to_owned());
        }
        path.components().count() < depth
    })?;
    found.sort();
    Ok(found)
}

/// Visits `root` and everything below it that is not a symbolic link; `visit` gets the path and whether it is a
/// directory, and says whether to go into it. Kernel file systems (proc, sysfs, cgroup) below `root` are left out.
///
/// # Errors
///
/// If a directory cannot be read or `budget` runs out. What vanishes meanwhile is no error.
pub(super) fn walk(
    root: &Path,
    budget: &mut usize,
    visit: &mut dyn FnMut(&Path, bool) -> bool,
) -> Result<()> {
    let start = match fs::symlink_metadata(root) {
        Ok(meta) => meta,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(e).with_context(|| root.display().to_string()),
    };
    if start.is_symlink() || !visit(root, start.is_dir()) || !start.is_dir() {
        return Ok(());
    }
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(e) => return Err(e).with_context(|| dir.display().to_string()),
        };
        for entry in entries {
            let entry = entry.with_context(|| dir.display().to_string())?;
            ensure!(*budget > 0, "more than {MAX_ENTRIES} files to look at below {}", root.display());
            *budget -= 1;
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if !kind.is_symlink() && visit(&path, kind.is_dir()) && kind.is_dir() && !is_kernel_fs(&path) {
                pending.push(path);
            }
        }
    }
    Ok(())
}

fn is_kernel_fs(dir: &Path) -> bool {
    let known = [
        statfs::PROC_SUPER_MAGIC,
        statfs::SYSFS_MAGIC,
        statfs::CGROUP2_SUPER_MAGIC,
        statfs::CGROUP_SUPER_MAGIC,
    ];
    statfs::statfs(dir).is_ok_and(|s| known.contains(&s.filesystem_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(glob: &str) -> Glob {
        glob::parse(glob).expect("glob is valid").remove(0)
    }

    #[test]
    fn overlap_is_conservative() {
        let work = Path::new("/work");
        for (glob, want) in [
            ("/etc/**", false),
            ("/etc/shadow", false),
            ("/workshop/**", false),
            ("/work", true),
            ("/work/a", true),
            ("/work/a/**", true),
            ("/**", true),
            ("**/.env", true),
            ("/wor?/x", true),
            ("/", false),
            ("/{work,etc}/x", true),
            ("/\\work", true),
        ] {
            assert_eq!(may_match_below(&one(glob), work), want, "{glob}");
        }
    }

    #[test]
    fn expansion_leaves_symbolic_links_out() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().canonicalize().expect("exists");
        fs::write(root.join("a.txt"), "").expect("write");
        std::os::unix::fs::symlink("/etc", root.join("b.txt")).expect("symlink");
        let found = |glob: &str| expand(&one(&format!("{}/{glob}", root.display()))).expect("walk");
        assert_eq!(found("*.txt"), [root.join("a.txt")]);
        assert_eq!(found("**/a.txt"), [root.join("a.txt")]);
        assert_eq!(found("?.txt/**"), [root.join("a.txt")]);
    }

    #[test]
    fn the_budget_is_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for i in 0..3 {
            fs::write(dir.path().join(i.to_string()), "").expect("write");
        }
        assert!(walk(dir.path(), &mut 2, &mut |_, _| true).is_err());
        assert!(walk(dir.path(), &mut 3, &mut |_, _| true).is_ok());
    }
}
