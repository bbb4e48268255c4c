//! git: with its own commands as children, hard links between repositories, and packs mapped into memory.

use agentguard_tests::Level;

use crate::workload::Workload;

/// Who commits. Without it, git asks the network for the name of this host.
const IDENTITY: &str = "export GIT_AUTHOR_NAME=Tester GIT_AUTHOR_EMAIL=tester@localhost
export GIT_COMMITTER_NAME=Tester GIT_COMMITTER_EMAIL=tester@localhost";

const CLONE_AND_PUSH: &str = r#"
mkdir origin && cd origin
git init -q -b main .
echo one > file && git add file && git commit -qm first
cd .. && git clone -q origin copy && cd copy
echo two >> file && git commit -qam second && git push -q origin HEAD:side
git log --format=%s && git -C ../origin branch --format='%(refname:short)' && git status --short
"#;

#[test]
fn git_clones_commits_and_pushes() {
    let workload = Workload::shipped("git_clones_commits_and_pushes", "coding-agent");
    workload.run(&format!("{IDENTITY}{CLONE_AND_PUSH}"), "second\nfirst\nmain\nside\n");
}

#[test]
fn git_works_for_an_ordinary_user() {
    let workload = Workload::shipped("git_works_for_an_ordinary_user", "coding-agent").user("nobody");
    workload.run(&format!("{IDENTITY}{CLONE_AND_PUSH}"), "second\nfirst\nmain\nside\n");
}

#[test]
fn git_merges_rebases_and_packs() {
    let script = r#"
git init -q -b main . && seq 20 > numbers && git add . && git commit -qm start
git checkout -q -b topic && sed -i 's/^3$/three/' numbers && git commit -qam three
git checkout -q main && sed -i 's/^18$/eighteen/' numbers && git commit -qam eighteen
git merge -q --no-edit topic > messages && rm messages && grep -c '[a-z]' numbers
git checkout -q -b other HEAD~1 && echo more > more && git add more && git commit -qm more
git rebase -q main && git log --format=%s
git stash list && echo dirty >> more && git stash -q && git stash pop -q && git diff --stat | tail -n 1
git checkout -q -- more && git gc -q --prune=now && git fsck --strict --no-progress
git count-objects -v | grep -E '^(count|packs):'
git worktree add -q ../workspace/tree topic && ls tree && git grep -c eigh main -- numbers
git archive main | tar t
"#;
    let says = "2\nmore\nMerge branch 'topic'\neighteen\nthree\nstart\n 1 file changed, 1 insertion(+)\n\
                count: 0\npacks: 1\nnumbers\nmain:numbers:1\nnumbers\n";
    let why =
        "the library that searches for git would compile the pattern just in time, and then does without";
    let workload = Workload::new("git_merges_rebases_and_packs", "base, shell, git");
    let workload = workload.expects_at(Level::Lsm, "map-exec", "executable-memory", why);
    workload.run(&format!("{IDENTITY}{script}"), says);
}

#[test]
fn git_clones_what_it_may_only_read() {
    let workload = Workload::new("git_clones_what_it_may_only_read", "base, shell, git");
    let site = workload.site();
    let make = format!(
        "{IDENTITY}\ngit init -q -b main . && echo text > file && git add . && git commit -qm first && git gc -q"
    );
    let mut command = std::process::Command::new("/usr/bin/bash");
    command.args(["-euc", &make]).current_dir(site.path("outside")).env("HOME", site.path("home"));
    let _ = site.finish(&mut command).success();
    let outside = site.at("outside");
    let rule = format!("    - allow: [read]\n      paths: [\"{outside}/**\"]");
    let script =
        format!("{IDENTITY}\ngit clone -q {outside} copy && cat copy/file && git -C copy log --format=%s");
    let why = "git tries hard links before it copies";
    let workload =
        workload.files(&rule).expects_at(Level::Lsm, "path", &format!("{outside}/.git/objects/*"), why);
    workload.run(&script, "text\nfirst\n");
}
