//! One workload: a script, the policy it runs under, and what must come of it.

use std::collections::BTreeSet;
use std::path::Path;

use agentguard_tests::events::Event;
use agentguard_tests::{Level, Site, level};

/// Without what a user's login adds, so that the programs are the same ones everywhere.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every policy here lets an agent do in its workspace and in /tmp, like the shipped policies.
const OWN_FILES: &str = r#"
    - allow: [read, write, create, delete, link, exec]
      paths: ["${workspace}/**", "${tmp}/**"]
"#;

/// A denial that belongs to a workload: a program tries, and does without.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "`why` is read where one is not met")]
struct Expected {
    /// The only level at which it is met; every one if there is none.
    level: Option<Level>,
    action: &'static str,
    /// What is denied; a final `*` stands for any rest.
    object: String,
    why: &'static str,
}

impl Expected {
    fn applies(&self) -> bool {
        self.level.is_none_or(|level| level == Level::expected())
    }

    fn covers(&self, event: &Event) -> bool {
        let object = event.text("/object");
        let start = self.object.strip_suffix('*');
        let same = start.map_or(object == self.object, |start| object.starts_with(start));
        same && event.text("/action") == self.action && self.applies()
    }
}

/// Directories that `base` lets list, and what it lets read of the own processes: Landlock can say neither
/// (docs/policy.md, "Level compat"). Programs look there and do without.
fn is_beyond_landlock(event: &Event) -> bool {
    let object = event.text("/object");
    let listed = ["/", "/bin", "/dev", "/etc", "/home", "/proc", "/tmp", "/usr", "/usr/bin", "/usr/local"];
    // The rules allow it, or it would be the reason.
    let allowed = event.text("/reason") == "permissions";
    Level::expected() == Level::Compat
        && allowed
        && (listed.contains(&object) || object.starts_with("/proc/self/"))
}

/// Who was denied what.
fn brief(denial: &Event) -> String {
    let access = denial.0.get("access").map(ToString::to_string).unwrap_or_default();
    let said = ["/process/comm", "/action", "/object", "/reason", "/rule/text"];
    let [who, action, object, reason, rule] = said.map(|at| denial.text(at));
    format!("{who}: {action} {access} {object} ({reason}) {rule}")
}

/// A workload in a fresh workspace and an empty home.
#[derive(Debug)]
pub(crate) struct Workload {
    site: Site,
    name: &'static str,
    policy: Option<&'static str>,
    include: &'static str,
    files: String,
    rest: String,
    user: &'static str,
    home: Option<String>,
    path: String,
    expected: Vec<Expected>,
}

impl Workload {
    /// The workload of the test `name`, under the presets `include`, with its workspace and /tmp to itself.
    pub(crate) fn new(name: &'static str, include: &'static str) -> Self {
        Self {
            site: Site::served(),
            name,
            policy: None,
            include,
            files: OWN_FILES.into(),
            rest: String::new(),
            user: "root",
            home: None,
            path: PATH.into(),
            expected: Vec::new(),
        }
    }

    /// The same under a shipped policy.
    pub(crate) fn shipped(name: &'static str, policy: &'static str) -> Self {
        Self { policy: Some(policy), ..Self::new(name, "") }
    }

    /// Directories of this workload.
    pub(crate) const fn site(&self) -> &Site {
        &self.site
    }

    /// Adds file rules.
    pub(crate) fn files(mut self, rules: &str) -> Self {
        self.files.push_str(rules.trim_matches('\n'));
        self.files.push('\n');
        self
    }

    /// Adds other fields of the policy's `spec`.
    pub(crate) fn rest(mut self, rest: &str) -> Self {
        self.rest.push_str(rest.trim_matches('\n'));
        self.rest.push('\n');
        self
    }

    /// Runs it as another user than root.
    pub(crate) const fn user(mut self, user: &'static str) -> Self {
        self.user = user;
        self
    }

    /// Runs it with another home than an empty one, and with the programs in `bin` there.
    pub(crate) fn at_home(mut self, home: &str, bin: &str) -> Self {
        self.home = Some(home.to_owned());
        self.path = format!("{home}/{bin}:{PATH}");
        self
    }

    /// Declares that `action` on `object` is denied, and why that is right.
    pub(crate) fn expects(mut self, action: &'static str, object: &str, why: &'static str) -> Self {
        self.expected.push(Expected { level: None, action, object: object.to_owned(), why });
        self
    }

    /// Declares a denial of one level.
    pub(crate) fn expects_at(
        mut self,
        level: Level,
        action: &'static str,
        object: &str,
        why: &'static str,
    ) -> Self {
        self.expected.push(Expected { level: Some(level), action, object: object.to_owned(), why });
        self
    }

    /// Says that the test was skipped, unless all its programs are installed here.
    pub(crate) fn needs(self, programs: &[&str]) -> Option<Self> {
        let missing = programs.iter().find(|program| !Path::new(program).exists());
        if let Some(program) = missing {
            level::skip(self.name, &format!("{program} is not installed"));
        }
        missing.is_none().then_some(self)
    }

    fn document(&self) -> String {
        if let Some(shipped) = self.policy {
            return shipped.to_owned();
        }
        let text = format!(
            "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata:\n  name: workload\nspec:\n  \
             include: [{}]\n  files:{}{}",
            self.include, self.files, self.rest
        );
        self.site.file("workload.yaml", &text)
    }

    /// Runs the script and checks that it says `says` and that nothing else than declared was denied.
    #[track_caller]
    pub(crate) fn run(self, script: &str, says: &str) {
        let document = self.document();
        // Rules inside what others allow are beyond Landlock. Those of `base` on /proc/self are among them.
        let degraded: &[&str] = if Level::expected() == Level::Compat { &["--allow-degraded"] } else { &[] };
        let agent = self.site.agent(&document).options(&["--user", self.user]).options(degraded);
        let home = self.home.clone().unwrap_or_else(|| self.site.at("home"));
        let agent = agent.env("HOME", &home).env("USER", self.user).env("PATH", &self.path);
        let mut command = agent.command(["/usr/bin/bash", "-euo", "pipefail", "-c", script]);
        command.current_dir(self.site.path("workspace"));
        let run = self.site.finish(&mut command);

        let events = self.site.log().until_end(&run.invocation());
        let denials: Vec<_> = events.iter().filter(|e| e.is_denial() && !is_beyond_landlock(e)).collect();
        let declared = |event: &Event| self.expected.iter().any(|e| e.covers(event));
        let unexpected: BTreeSet<_> =
            denials.iter().filter(|event| !declared(event)).map(|event| brief(event)).collect();
        let unexpected: Vec<_> = unexpected.into_iter().collect();
        assert!(unexpected.is_empty(), "denied:\n{}\n{run}", unexpected.join("\n"));
        let stale =
            self.expected.iter().find(|e| e.applies() && !denials.iter().any(|event| e.covers(event)));
        assert!(stale.is_none(), "declared and not met: {stale:?}\n{run}");
        assert_eq!(run.success().stdout, says);
    }
}
