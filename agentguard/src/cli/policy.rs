//! `policy`: work with documents, which needs neither a daemon nor root, and with the versions that the daemon keeps.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentguard_common::file::Access;
use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};

use super::output::{self, Unread, say};
use super::{run, versions};
use crate::kernel::trial;
use crate::launch::{identity, landlock};
use crate::policy::compile::{compile, compile_chain};
use crate::policy::judge::{Answer, Judge, Request};
use crate::policy::{self, Chain, Explainer, Variables, cases, diff, subjects};

/// Exit status of `diff` and `test`: nothing differs or fails, something does, or there is no answer; as of diff(1).
mod status {
    pub(super) const DIFFERENT: i32 = 1;
    pub(super) const NO_ANSWER: u8 = 2;
}

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Check a document: syntax, globs, addresses, includes, and what each level can enforce.
    Check {
        file: PathBuf,
        /// Also list where level compat is stricter than the policy on this machine.
        #[arg(long)]
        notes: bool,
    },
    /// Compare two policies by what they mean. Exit status 0: the same, 1: they differ, 2: no answer.
    Diff {
        /// A shipped name, a file, or `-` for standard input.
        a: String,
        /// The same.
        b: String,
        #[command(flatten)]
        place: Place,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Test a policy with cases. Exit status 0: all passed, 1: some failed, 2: no answer.
    Test {
        /// A shipped name, a file, or `-` for standard input.
        policy: String,
        /// A YAML list of cases: name, operation, object, expect.
        cases: PathBuf,
        #[command(flatten)]
        place: Place,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a document the newest version of the policy that it names, also for what runs. Needs the daemon.
    Push { file: PathBuf },
    /// List the policies that were pushed. Needs the daemon.
    List,
    /// List the versions of a policy. Needs the daemon.
    History { name: String },
    /// Print a version of a policy, the newest by default. Needs the daemon.
    Show {
        name: String,
        #[arg(long)]
        version: Option<i64>,
    },
    /// Push an earlier version of a policy again. Needs the daemon.
    Rollback {
        name: String,
        /// The version [default: the last one that differs from the newest].
        #[arg(long)]
        version: Option<i64>,
    },
    /// Say what a policy decides about one operation, and by which rule.
    Explain {
        /// A shipped name, a file, or `-` for standard input.
        policy: String,
        /// read, write, create, delete, exec, link, connect or bind; several accesses to a file with commas.
        operation: String,
        /// A path, an @abstract socket, or an address with its port.
        object: String,
        /// Of an address.
        #[arg(long)]
        protocol: Option<String>,
        #[command(flatten)]
        place: Place,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Time what the kernel decides about reading each path under a policy. Needs root; nothing is attached.
    Time {
        /// A shipped name, a file, or `-` for standard input.
        policy: String,
        #[arg(required = true)]
        paths: Vec<String>,
        #[command(flatten)]
        place: Place,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of policy documents.
    Schema,
}

/// What the variables of a policy stand for.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The directory that the policy calls ${workspace}; the current one by default. Need not exist.
    #[arg(long)]
    workspace: Option<PathBuf>,
    /// Whose ${home}, ${user} and ${uid}; under sudo the invoking user by default.
    #[arg(long)]
    user: Option<String>,
}

impl Place {
    fn variables(&self) -> Result<Variables> {
        let user = identity::invoking_user(self.user.as_deref())?;
        let workspace = match &self.workspace {
            None => std::env::current_dir().context("the current directory")?,
            // As `run` does it, where there is such a directory.
            Some(dir) => match dir.canonicalize() {
                Ok(resolved) => resolved,
                Err(_) => std::path::absolute(dir).with_context(|| dir.display().to_string())?,
            },
        };
        Ok(Variables {
            home: user.home.to_string_lossy().into_owned(),
            workspace: workspace.to_str().context("the workspace's path is not UTF-8")?.to_owned(),
            user: user.user,
            uid: user.uid,
            tmp: "/tmp".into(),
        })
    }
}

/// Reads a shipped policy, a file, or standard input.
fn load(name: &str, variables: &Variables) -> Result<policy::model::Policy> {
    let (file, text) = if name == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        ("standard input".to_owned(), text)
    } else {
        run::text(name)?
    };
    Ok(policy::load(&file, &text, variables)?)
}

fn judge(policy: policy::model::Policy) -> Result<Judge> {
    let compiled = compile(&policy).with_context(|| format!("policy {}", policy.name))?;
    Ok(Judge::new(Chain(vec![Arc::new(Explainer::new(Arc::new(policy)))]), compiled))
}

/// Prints a verdict in full and ends with its status, which counts also if nobody reads the text.
fn finish(text: &str, ends_well: bool) -> Result<()> {
    match output::write(format_args!("{text}")) {
        Err(e) if e.is::<Unread>() => {}
        other => other?,
    }
    if ends_well { Ok(()) } else { std::process::exit(status::DIFFERENT) }
}

impl Policy {
    /// Exit status when [`Policy::execute`] fails.
    pub(super) const fn failure_status(&self) -> u8 {
        if matches!(self, Self::Diff { .. } | Self::Test { .. }) { status::NO_ANSWER } else { 1 }
    }

    pub(super) fn execute(self, socket: &Path) -> Result<()> {
        match self {
            Self::Push { file } => versions::push(socket, &file),
            Self::List => versions::list(socket),
            Self::History { name } => versions::history(socket, &name),
            Self::Show { name, version } => versions::show(socket, &name, version),
            Self::Rollback { name, version } => versions::rollback(socket, &name, version),
            Self::Check { file, notes } => check(&file, notes),
            Self::Schema => output::write(format_args!("{}", policy::json_schema())),
            Self::Diff { a, b, place, json } => compare([&a, &b], &place.variables()?, json),
            Self::Time { policy, paths, place, json } => time(&policy, &paths, &place.variables()?, json),
            Self::Test { policy, cases, place, json } => test(&policy, &cases, &place.variables()?, json),
            Self::Explain { policy, operation, object, protocol, place, json } => {
                let operations: Vec<_> = operation.split(',').map(str::trim).collect();
                let request = Request::parse(&operations, &object, protocol.as_deref())?;
                let answer = judge(load(&policy, &place.variables()?)?)?.answer(&request)?;
                if json {
                    return say!("{}", serde_json::to_string_pretty(&answer)?);
                }
                say!("{}{}", described(&answer), if answer.audit { " (audit: only recorded)" } else { "" })
            }
        }
    }
}

fn time(policy: &str, paths: &[String], variables: &Variables, json: bool) -> Result<()> {
    let policy = load(policy, variables)?;
    let mut bench = trial::Bench::new(&compile(&policy).with_context(|| format!("policy {}", policy.name))?)?;
    let timings: Result<Vec<_>> = paths.iter().map(|path| bench.time(path, Access::READ)).collect();
    let timings = timings?;
    if json {
        return say!("{}", serde_json::to_string(&timings)?);
    }
    say!("{:>8} {:>8} {:>8} {:>8} {:<8} PATH", "WARM, NS", "EMPTY", "COLD, NS", "EMPTY", "DECISION")?;
    timings.iter().try_for_each(|t| {
        let times = [t.warm_ns, t.warm_empty_ns, t.cold_ns, t.cold_empty_ns].map(|ns| format!("{ns:>8}"));
        say!("{} {:<8} {}", times.join(" "), t.decision, t.path)
    })
}

fn compare(names: [&str; 2], variables: &Variables, json: bool) -> Result<()> {
    ensure!(names != ["-", "-"], "standard input can be only one of the two; hint: write one to a file");
    let [a, b] = [load(names[0], variables)?, load(names[1], variables)?];
    let differences = diff::diff(&a, &b);
    let mut text = String::new();
    if json {
        let side = |p: &policy::model::Policy| serde_json::json!({ "name": p.name, "digest": p.digest });
        let all = serde_json::json!({ "a": side(&a), "b": side(&b), "differences": differences });
        text = serde_json::to_string_pretty(&all)? + "\n";
    } else if !differences.is_empty() {
        writeln!(text, "--- {} {}\n+++ {} {}", a.name, a.digest, b.name, b.digest)?;
        differences.iter().try_for_each(|difference| writeln!(text, "{difference}"))?;
    }
    finish(&text, differences.is_empty())
}

/// `deny by coding-agent:30: deny all "**/.env"`
fn described(answer: &Answer) -> String {
    let place = answer.rule.as_ref().map_or_else(String::new, |r| format!("{}:{}: ", r.document, r.line));
    let tool = answer.tool.as_ref().map_or_else(String::new, |tool| format!(", as tool {tool}"));
    format!("{} by {place}{}{tool}", answer.decision, answer.text)
}

fn test(policy: &str, file: &Path, variables: &Variables, json: bool) -> Result<()> {
    let judge = judge(load(policy, variables)?)?;
    let file_name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| file_name.clone())?;
    let cases = cases::load(&file_name, &text, variables)?;
    let judged = cases.iter().map(|case| Ok(case.judge(judge.answer(&case.request)?)));
    let outcomes = judged.collect::<Result<Vec<_>>>()?;
    let failed = outcomes.iter().filter(|o| !o.failures.is_empty()).count();
    let mut text = String::new();
    if json {
        text = serde_json::to_string_pretty(&outcomes)? + "\n";
        return finish(&text, failed == 0);
    }
    for outcome in &outcomes {
        let (name, answer) = (outcome.name, described(&outcome.answer));
        if outcome.failures.is_empty() {
            writeln!(text, "ok    {name}: {}: {answer}", outcome.question)?;
            continue;
        }
        writeln!(text, "FAIL  {name} ({file_name}:{}): {}: {answer}", outcome.line, outcome.question)?;
        outcome.failures.iter().try_for_each(|failure| writeln!(text, "      {failure}"))?;
    }
    if outcomes.iter().any(|o| o.answer.audit) {
        writeln!(text, "mode audit: what is denied here is only recorded")?;
    }
    writeln!(text, "{} cases, {} ok, {failed} failed", outcomes.len(), outcomes.len() - failed)?;
    finish(&text, failed == 0)
}

/// `policy check`: against this machine, for the invoking user and the current directory.
fn check(file: &Path, notes: bool) -> Result<()> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
    let policy = policy::load(&name, &text, &Place { workspace: None, user: None }.variables()?)?;
    if let Some(subjects) = &policy.subjects {
        subjects.check(&name, &subjects::Host)?;
    }
    let compiled = compile(&policy)?;
    say!(
        "{}: ok, {} file rules, {} network rules, {} states, {} bytes of table, {}",
        policy.name,
        policy.files.len(),
        policy.network.len(),
        compiled.header.states_len,
        compiled.words.len() * 4,
        policy.digest
    )?;
    for tool in &policy.tools {
        let chain = compile_chain(&[&policy, &tool.policy]);
        let chain = chain.with_context(|| format!("tool {}", tool.name))?;
        say!("tool {}: {} states, {}", tool.name, chain.header.states_len, tool.policy.digest)?;
    }
    let plan = landlock::plan(&policy);
    for u in plan.unenforceable {
        say!("level compat cannot enforce {}:{}: {}: {}", u.rule.document, u.rule.line, u.text, u.why)?;
    }
    for note in plan.notes.iter().filter(|_| notes) {
        say!("level compat is stricter: {note}")?;
    }
    Ok(())
}
