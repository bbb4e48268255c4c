use std::fs;

use super::*;
use crate::launch::testing::{in_child, policy};

const RW: Access = Access(0b11);

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let root = dir.path().canonicalize().expect("exists");
    (dir, root)
}

#[test]
fn shapes_of_allow_rules() {
    let (_keep, root) = scratch();
    fs::create_dir(root.join("d")).expect("mkdir");
    fs::write(root.join("f.txt"), "").expect("write");
    let glob = |tail: &str| format!("{}/{tail}", root.display());
    let (tree, file, star, gone) = (glob("d/**"), glob("f.txt"), glob("*"), glob("gone/**"));
    let plan = plan(&policy(&[
        (Effect::Allow, &tree, RW),
        (Effect::Allow, &file, Access::READ),
        (Effect::Allow, &star, Access::EXEC),
        (Effect::Allow, &gone, RW),
    ]));
    assert_eq!(plan.rules, [(root.join("d"), RW)]);
    assert_eq!(plan.exact, [(root.join("f.txt"), Access::READ.union(Access::EXEC))]);
    assert!(plan.unenforceable.is_empty());
    assert_eq!(plan.notes.len(), 3, "{:?}", plan.notes);
}

#[test]
fn braces_are_alternatives_and_escapes_are_literal() {
    let (_keep, root) = scratch();
    for name in ["a", "b", "{a,b}"] {
        fs::write(root.join(name), "").expect("write");
    }
    let exact = |tail: &str| {
        let glob = format!("{}/{tail}", root.display());
        plan(&policy(&[(Effect::Allow, &glob, RW)])).exact.into_iter().map(|(p, _)| p).collect::<Vec<_>>()
    };
    assert_eq!(exact("{a,b}"), [root.join("a"), root.join("b")]);
    assert_eq!(exact("\\{a\\,b\\}"), [root.join("{a,b}")]);
    assert_eq!(exact("{a,[c]}"), [root.join("a")]);
}

#[test]
fn denies_inside_an_allowed_directory_are_listed() {
    let listed = |effect, glob, access| {
        let rules = [(Effect::Allow, "/usr/**", Access::READ), (effect, glob, access)];
        plan(&policy(&rules)).unenforceable.into_iter().map(|u| u.text).collect::<Vec<_>>()
    };
    assert_eq!(listed(Effect::Deny, "**/.env", Access::READ), ["deny read \"**/.env\""]);
    assert_eq!(listed(Effect::Ask, "/usr/lib/x", Access::ALL), ["ask all \"/usr/lib/x\""]);
    assert_eq!(listed(Effect::Deny, "/etc/x", Access::CONNECT).len(), 1);
    assert!(listed(Effect::Deny, "**/.env", Access::WRITE).is_empty(), "write is allowed nowhere");
    assert!(listed(Effect::Deny, "/etc/**", Access::ALL).is_empty());
}

#[test]
fn denies_of_a_whole_tree_or_a_file_are_taken_out() {
    let made = plan(&policy(&[
        (Effect::Allow, "/usr/lib/**", RW),
        (Effect::Allow, "/etc/passwd", RW),
        (Effect::Deny, "/usr/**", Access::ALL),
        (Effect::Deny, "**/pass*", Access::WRITE),
    ]));
    assert_eq!((made.rules.as_slice(), made.unenforceable.len()), ([].as_slice(), 0));
    assert_eq!(made.exact, [(PathBuf::from("/etc/passwd"), Access::READ)]);
}

#[test]
fn the_kernel_holds_to_the_plan() {
    if kernel_abi().is_err() {
        return;
    }
    let (_keep, root) = scratch();
    for name in ["open", "closed"] {
        fs::create_dir(root.join(name)).expect("mkdir");
        fs::write(root.join(name).join("f"), "x").expect("write");
    }
    std::os::unix::fs::symlink(root.join("closed"), root.join("link")).expect("symlink");
    let tree = format!("{}/open/**", root.display());
    let link = format!("{}/link/**", root.display());
    let mut plan = plan(&policy(&[(Effect::Allow, &tree, RW)]));
    // As if the link had been a directory when the plan was made.
    plan.rules.push((PathBuf::from(link.trim_end_matches("/**")), RW));
    in_child(|| {
        let status = apply(&plan).expect("Landlock works here");
        let denied = |r: io::Result<()>| r.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
        let (open, closed) = (root.join("open/f"), root.join("closed/f"));
        status.skipped.len() == 1
            && fs::read(&open).is_ok()
            && fs::write(&open, "y").is_ok()
            && denied(fs::read(&closed).map(drop))
            && denied(fs::write(&closed, "y"))
            && denied(fs::write(root.join("open/new"), "y"))
            && denied(fs::remove_file(&open))
            && denied(fs::read_dir(&root).map(drop))
    });
    assert!(root.join("open/f").exists());
}

#[test]
fn tools_are_listed() {
    let mut with_tool = policy(&[(Effect::Allow, "/usr/**", Access::READ)]);
    let source = RuleSource { document: "test".into(), line: 9, reason: None };
    with_tool.tools.push(Tool {
        name: "git".into(),
        globs: vec!["/usr/bin/git*".into()],
        source: source.clone(),
        policy: policy(&[]),
    });
    let why = "Landlock cannot narrow a program when it is executed".into();
    let text = "tool git [\"/usr/bin/git*\"]".into();
    assert_eq!(plan(&with_tool).unenforceable, [Unenforceable { rule: source, text, why }]);
}
