//! Decisions about paths by themselves: the kernel plane's own code on a path from memory, run and timed by the kernel
//! (`BPF_PROG_TEST_RUN`). Works where nothing can be attached.

use std::time::Duration;

use agentguard_common::file::{Access, Trial};
use agentguard_common::verdict::{Decision, Verdict};
use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use serde::Serialize;
use zerocopy::IntoBytes as _;

use super::{Kernel, Level};
use crate::policy::compile::Compiled;

/// Longest path: the kernel wants the packet on one page, with its own things around it.
pub const MAX_PATH: usize = 3600;
/// Runs of which the mean is taken.
const WARM_RUNS: u32 = 20_000;
/// Runs of one decision each, with other data in the processor's caches, of which the median is taken.
const COLD_RUNS: usize = 51;
/// Larger than a processor's share of its caches.
const CACHES: usize = 96 << 20;
const CACHE_LINE: usize = 64;

/// What one decision takes. "Empty" is the same run without the decision: entering the program and copying the path.
#[derive(Debug, Serialize)]
pub struct Timing {
    pub path: String,
    pub bytes: usize,
    pub components: usize,
    pub decision: &'static str,
    /// Nanoseconds, mean of runs in a row.
    pub warm_ns: f64,
    pub warm_empty_ns: f64,
    /// Nanoseconds, median of single runs, each after the processor's caches were filled with other data.
    pub cold_ns: f64,
    pub cold_empty_ns: f64,
}

/// One policy in the kernel, attached to nothing.
pub struct Bench {
    kernel: Kernel,
    policy: u32,
    other: Vec<u8>,
}

impl Bench {
    /// Loads the program and puts the policy in place.
    ///
    /// # Errors
    /// When the kernel refuses the program, or the policy does not fit.
    pub fn new(compiled: &Compiled) -> Result<Self> {
        let mut kernel = Kernel::unattached(Level::Compat, None)?;
        let (policy, _) = kernel.publish(compiled)?;
        let program: &mut SchedClassifier =
            kernel.ebpf.program_mut("decision_trial").context("missing program")?.try_into()?;
        program.load().context("loading decision_trial")?;
        Ok(Self { kernel, policy, other: vec![0; CACHES] })
    }

    /// Decides `want` on `path`.
    ///
    /// # Errors
    /// When the path is too long, or the kernel does not run the program.
    pub fn decide(&self, path: &str, want: Access) -> Result<Decision> {
        Ok(self.run(&self.packet(path, want, true)?, 1)?.0.decision)
    }

    /// What the program gets.
    fn packet(&self, path: &str, want: Access, decides: bool) -> Result<Vec<u8>> {
        ensure!(
            (1..=MAX_PATH).contains(&path.len()),
            "{} bytes of path; at least 1 and at most {MAX_PATH} fit",
            path.len()
        );
        let (policy, want) = (self.policy, want.0.into());
        let mut packet = Trial { policy, want, decides: decides.into(), padding: 0 }.as_bytes().to_vec();
        packet.extend_from_slice(path.as_bytes());
        Ok(packet)
    }

    /// Says how long the decision about `want` on `path` takes.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub fn time(&mut self, path: &str, want: Access) -> Result<Timing> {
        let (decides, empty) = (self.packet(path, want, true)?, self.packet(path, want, false)?);
        let (verdict, warm) = self.run(&decides, WARM_RUNS)?;
        let (_, warm_empty) = self.run(&empty, WARM_RUNS)?;
        let (cold, cold_empty) = (self.cold(&decides)?, self.cold(&empty)?);
        Ok(Timing {
            path: path.to_owned(),
            bytes: path.len(),
            components: path.split('/').filter(|name| !name.is_empty()).count(),
            decision: verdict.decision.name(),
            warm_ns: nanoseconds(warm),
            warm_empty_ns: nanoseconds(warm_empty),
            cold_ns: nanoseconds(cold),
            cold_empty_ns: nanoseconds(cold_empty),
        })
    }

    /// The median of single runs.
    fn cold(&mut self, packet: &[u8]) -> Result<Duration> {
        let mut all = Vec::new();
        for _ in 0..COLD_RUNS {
            self.other.iter_mut().step_by(CACHE_LINE).for_each(|byte| *byte = byte.wrapping_add(1));
            all.push(self.run(packet, 1)?.1);
        }
        all.sort();
        Ok(all[all.len() / 2])
    }

    /// The answer, and the mean time of a run.
    fn run(&self, packet: &[u8], repeat: u32) -> Result<(Verdict, Duration)> {
        let program: &SchedClassifier =
            self.kernel.ebpf.program("decision_trial").context("missing program")?.try_into()?;
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::new() };
        let result = program.test_run(options).context("running decision_trial")?;
        Ok((Verdict::unpacked(result.return_value), result.duration))
    }
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::policy::Variables;
    use crate::policy::compile::compile;

    /// Reading below `/a` is allowed, but of keys in `/a/b`.
    pub(in crate::kernel) fn compiled() -> Compiled {
        let yaml = "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: t}\nspec:\n  files:\n  \
                    - {allow: [read], paths: [\"/a/**\"]}\n  - {deny: [read], paths: [\"/a/b/*.key\"]}\n";
        let variables = Variables {
            home: "/root".into(),
            workspace: "/w".into(),
            user: "root".into(),
            uid: 0,
            tmp: "/tmp".into(),
        };
        compile(&crate::policy::load("t.yaml", yaml, &variables).expect("loads")).expect("compiles")
    }

    /// As root, at level `compat`.
    #[test]
    fn the_kernel_decides_as_the_policy_says() {
        if !crate::launch::testing::is_root() {
            return;
        }
        let bench = Bench::new(&compiled()).expect("loaded");
        let long = format!("/a/{}", "x".repeat(MAX_PATH - 3));
        for (path, want, decision) in [
            ("/a/b/c", Access::READ, "allow"),
            ("/a/b/c", Access::WRITE, "deny"),
            ("/a/b/c.key", Access::READ, "deny"),
            ("/", Access::READ, "deny"),
            (&long, Access::READ, "allow"),
        ] {
            assert_eq!(bench.decide(path, want).expect("decided").name(), decision, "{path}");
        }
        assert!(bench.decide(&format!("{long}x"), Access::READ).is_err(), "too long to be run");
    }
}
