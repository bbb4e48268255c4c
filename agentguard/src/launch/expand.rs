//! Globs against the file system as it is now.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use nix::sys::statfs;

/// Directory entries looked at before a walk gives up.
pub const MAX_ENTRIES: usize = 200_000;

/// Whether a glob or a part of one has wildcards.
#[must_use]
pub fn is_literal(glob: &str) -> bool {
    !glob.contains(['*', '?', '[', '\\'])
}

/// The directory that everything matched by `glob` is in or below, or the glob itself if it is literal.
#[must_use]
pub fn literal_prefix(glob: &str) -> &Path {
    if is_literal(glob) {
        return Path::new(glob);
    }
    let first = glob.find(['*', '?', '[', '\\']).unwrap_or(glob.len());
    let dir = glob[..first].rfind('/').map_or("", |slash| &glob[..slash]);
    Path::new(if dir.is_empty() { "/" } else { dir })
}

/// The `/x` of `/x/**`, if the glob has that shape (`/x` may hold wildcards).
#[must_use]
pub fn subtree(glob: &str) -> Option<&str> {
    if matches!(glob, "**" | "/**") {
        return Some("/");
    }
    glob.strip_suffix("/**")
}

/// Whether some path in or below the directory `dir` can match `glob`. Errs towards yes.
#[must_use]
pub fn may_match_below(glob: &str, dir: &Path) -> bool {
    let tail = subtree(glob);
    let prefix = literal_prefix(tail.unwrap_or(glob));
    let whole = is_literal(glob);
    prefix.starts_with(dir) || (!whole && dir.starts_with(prefix))
}

/// Matches the paths that `globs` match: `*` and `?` stop at `/`, `/a/**` includes `/a`.
///
/// # Errors
///
/// If a glob is malformed.
pub fn matcher<'a>(globs: impl IntoIterator<Item = &'a str>) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    let mut add = |glob: &str| -> Result<()> {
        // Braces are ordinary characters in policies, and alternatives in globset.
        let text: String = glob
            .chars()
            .map(|c| if matches!(c, '{' | '}') { format!("[{c}]") } else { c.to_string() })
            .collect();
        let built = GlobBuilder::new(&text).literal_separator(true).build();
        set.add(built.with_context(|| format!("glob {glob:?}"))?);
        Ok(())
    };
    for glob in globs {
        add(glob)?;
        match subtree(glob) {
            Some("/") => add("/")?,
            Some(dir) => add(dir)?,
            None => {}
        }
    }
    Ok(set.build()?)
}

/// Everything that exists and matches `glob`, sorted. Symbolic links are neither followed nor returned.
///
/// # Errors
///
/// If the glob is malformed or the walk fails.
pub fn expand(glob: &str) -> Result<Vec<PathBuf>> {
    let wanted = matcher([glob])?;
    // Without `**` nothing deeper than the glob itself can match.
    let depth = if glob.contains("**") { usize::MAX } else { Path::new(glob).components().count() };
    let mut found = Vec::new();
    let mut budget = MAX_ENTRIES;
    walk(literal_prefix(glob), &mut budget, &mut |path, _| {
        if wanted.is_match(path) {
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
pub fn walk(root: &Path, budget: &mut usize, visit: &mut dyn FnMut(&Path, bool) -> bool) -> Result<()> {
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

    #[test]
    fn prefixes() {
        assert_eq!(literal_prefix("/a/b"), Path::new("/a/b"));
        assert_eq!(literal_prefix("/a/b*/c"), Path::new("/a"));
        assert_eq!(literal_prefix("/a*"), Path::new("/"));
        assert_eq!(literal_prefix("**/x"), Path::new("/"));
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
        ] {
            assert_eq!(may_match_below(glob, work), want, "{glob}");
        }
    }

    #[test]
    fn matching_follows_the_policy_language() {
        let m = |glob: &str, path: &str| matcher([glob]).expect("glob is valid").is_match(path);
        assert!(m("/a/**", "/a") && m("/a/**", "/a/b/c") && !m("/a/**", "/ab"));
        assert!(m("**/.env", "/.env") && m("**/.env", "/a/b/.env") && !m("**/.env", "/a/x.env"));
        assert!(m("**/.ssh/**", "/h/.ssh") && m("**/.ssh/**", "/h/.ssh/id"));
        assert!(m("/a/*", "/a/.b") && !m("/a/*", "/a/b/c") && m("/a/{x,y}", "/a/{x,y}"));
        assert!(m("/**", "/") && m("/a/[bc]", "/a/b"));
    }

    #[test]
    fn expansion_leaves_symbolic_links_out() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().canonicalize().expect("exists");
        fs::write(root.join("a.txt"), "").expect("write");
        std::os::unix::fs::symlink("/etc", root.join("b.txt")).expect("symlink");
        let found = expand(&format!("{}/*.txt", root.display())).expect("walk");
        assert_eq!(found, [root.join("a.txt")]);
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
