//! Every condition in one boot of a guest, each with the same work: `xtask/src/bench/work.c`.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use agentguard_tests::daemon::Daemon;
use agentguard_tests::{Level, Site};

/// Where the work and its files are: the paths that it opens have this much before them.
const DIRECTORY: &str = "/b";
const WORK: &str = "/b/work";
const DEEPEST: &str = "/b/d2/d3/d4/d5/d6/d7/d8/d9/d10/d11";
const OPENED: [&str; 4] =
    ["/b/f", "/b/d2/d3/d4/d5/f", "/b/d2/d3/d4/d5/d6/d7/d8/d9/d10/d11/f", "/b/test_name_of_24_bytes.py"];
/// The same program by the name under which it does nothing. Statically linked, so that exec costs little besides what
/// enforcement adds.
const TRUE: &str = "/b/true";
pub(super) const RULES: [usize; 4] = [10, 100, 1_000, 10_000];
const APPARMOR_PROFILE: &str = "profile agentguard-bench flags=(attach_disconnected) {
  /b/** rix,
  /dev/** rw,
  deny /secret/** rw,
  network inet stream,
}
";

/// How long the kernel has for what was detached. No more work for the guest: its clock jumps while nothing runs.
const DETACHED: Duration = Duration::from_secs(10);

/// Lays out the files, then does the work under one condition after the other.
pub(super) fn run(work: &str, scale: &str) {
    lay_out(Path::new(work));
    let site = Site::within(Path::new("/run"));
    let plain = |condition: &str, more: &[&str]| {
        print!("{}", site.finish(Command::new(WORK).args([condition, scale]).args(more)).success().stdout);
    };
    plain("unloaded", &[]);
    plain("landlock", &["landlock"]);
    if apparmor_loads(&site) {
        plain("apparmor", &["apparmor", "agentguard-bench"]);
    }
    let daemon = site.daemon();
    site.until_quiet();
    // What was detached the kernel frees in workers of its own, for a second or more, and tells nobody when that is over.
    std::thread::sleep(DETACHED);
    let _ = site.finish(Command::new(WORK).args(["untagged", scale])).success(); // warms caches up
    plain("untagged", &[]);
    let tagged = |condition: &str, policy: &str| {
        let options = ["--level", Level::expected().name()];
        let done = site.agent(policy).options(&options).run([WORK, condition, scale]).success();
        print!("{}", done.stdout);
        site.log().until_end(&done.invocation()); // the next one does not share the processor with what this one left
    };
    for rules in RULES {
        let name = format!("tagged-{rules}");
        tagged(&name, &site.file(&format!("{name}.yaml"), &policy(rules, "enforce")));
    }
    let few = site.file("few.yaml", &policy(10, "enforce"));
    beside(&site, &few, || plain("untagged-beside", &[]));
    tagged("audit", &site.file("audit.yaml", &policy(10, "audit")));
    without_daemon(&site, &daemon, &few, ["tagged-10-alone", scale, "wait"]);
    // Last, since from here on packets may have to be stopped.
    let expiring = site.agent(&few).options(&["--level", Level::expected().name(), "--ttl", "1h"]);
    print!("{}", expiring.run([WORK, "tagged-10-expiring", scale]).success().stdout);
    daemon.stop(&site, libc::SIGTERM);
}

/// Does `work` while a tagged task lives that does nothing.
fn beside(site: &Site, policy: &str, work: impl FnOnce()) {
    let mut waiting = site.agent(policy).spawn_on(Stdio::piped(), &["/usr/bin/cat"]);
    let id = waiting.invocation();
    work();
    drop(waiting.process.child().stdin.take());
    let (status, output) = waiting.finish();
    assert!(status.success(), "{output}");
    site.log().until_end(&id);
}

/// The work while the daemon is stopped, so that what it does with the events is not in the figures.
fn without_daemon(site: &Site, daemon: &Daemon, policy: &str, arguments: [&str; 3]) {
    let argv = [&[WORK], arguments.as_slice()].concat();
    let mut waiting = site.agent(policy).spawn_on(Stdio::piped(), &argv);
    let id = waiting.invocation();
    daemon.signal(libc::SIGSTOP);
    let mut input = waiting.process.child().stdin.take().expect("a pipe");
    input.write_all(b"\n").expect("written");
    let (status, output) = waiting.finish();
    daemon.signal(libc::SIGCONT);
    assert!(status.success(), "{output}");
    print!("{}", output.stdout);
    site.log().until_end(&id);
}

fn lay_out(work: &Path) {
    fs::create_dir_all(DEEPEST).expect("mkdir");
    fs::create_dir_all("/secret").expect("mkdir");
    for path in OPENED.into_iter().chain(["/secret/key"]) {
        fs::write(path, "").unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    for to in [TRUE, WORK] {
        fs::copy(work, to).unwrap_or_else(|e| panic!("{} to {to}: {e}", work.display()));
        fs::set_permissions(to, Permissions::from_mode(0o755)).expect("chmod");
    }
}

/// Whether this kernel and this system have AppArmor, with the profile loaded then.
fn apparmor_loads(site: &Site) -> bool {
    let active = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if !active.split(',').any(|lsm| lsm.trim() == "apparmor") {
        return false;
    }
    let profile = site.file("profile", APPARMOR_PROFILE);
    let loaded = Command::new("apparmor_parser").args(["--replace", "--skip-cache", &profile]).status();
    loaded.is_ok_and(|status| status.success())
}

/// A policy of so many rules on paths: what the work needs, then rules about places that it never goes to. Some begin
/// with `**/`, so that every state of the automaton has them in it.
pub(super) fn policy(rules: usize, mode: &str) -> String {
    let mut text = format!(
        "apiVersion: agentguard.dev/v1alpha1
kind: AgentPolicy
metadata:
  name: bench
spec:
  mode: {mode}
  files:
    - allow: [read, exec]
      paths: [\"/usr/**\", \"{DIRECTORY}/**\"]
    - allow: [read]
      paths: [\"/etc/**\", \"/proc/**\", \"/sys/**\", \"/dev/**\"]
    - allow: [read, write]
      paths: [\"/dev/null\"]
"
    );
    for i in 7..rules {
        let rule = match i % 500 {
            9 => format!("    - deny: [read]\n      paths: [\"**/private-{i}.pem\"]\n"),
            _ => {
                format!(
                    "    - allow: [read]\n      paths: [\"/srv/tenants/{:02}/{i:05}/data/**\"]\n",
                    i % 100
                )
            }
        };
        text.push_str(&rule);
    }
    // 4444 has no rule.
    let network = "  network:
    - allow: [connect]
      to: [loopback]
      ports: [9, 7777]
      protocol: [tcp]
    - allow: [bind]
      to: [127.0.0.1]
      ports: [7777]
      protocol: [tcp]
";
    write!(text, "{network}").expect("a string");
    text
}
