//! What enforcement costs the enforced, as ratios to the same work in the same run with nothing loaded.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::vm::{self, Clock, Kernel};

/// Rounds of all three conditions.
const ROUNDS: u32 = 3;
/// Operations of a measurement, in percent of the program's own choice; a guest that counts needs few.
const SCALE: u32 = 100;
const GUEST_SCALE: u32 = 20;
const GUEST_LIMIT: Duration = Duration::from_secs(3000);

/// A line of the benchmark program.
#[derive(Deserialize)]
struct Line {
    condition: String,
    test: String,
    median_ns: f64,
}

fn program() -> Result<std::path::PathBuf> {
    let build =
        ["build", "--quiet", "--release", "--package", "agentguard-tests", "--bin", "agentguard-bench"];
    crate::run(&mut crate::cargo(&build))?;
    Ok(crate::root().join("target/release/agentguard-bench"))
}

/// Runs it here, or in a guest, where a nanosecond is an instruction.
pub(crate) fn enforcement(binary: &std::path::Path, guest: Option<&Kernel>) -> Result<()> {
    let program = program()?;
    let (output, unit) = match guest {
        None => {
            let mut command = Command::new(program);
            command.args([ROUNDS.to_string(), SCALE.to_string()]).env("AGENTGUARD_BIN", binary);
            let output =
                command.stderr(std::process::Stdio::inherit()).output().context("starting the benchmark")?;
            ensure!(output.status.success(), "the benchmark ended with {}", output.status);
            (String::from_utf8(output.stdout).context("output of the benchmark")?, "ns")
        }
        Some(kernel) => {
            let script = format!(
                "AGENTGUARD_LEVEL=lsm AGENTGUARD_BIN='{}' '{}' {ROUNDS} {GUEST_SCALE}",
                binary.display(),
                program.display()
            );
            let outcome = vm::run(kernel, &script, GUEST_LIMIT, Clock::Instructions)?;
            ensure!(outcome.status == 0, "the benchmark ended with {}", outcome.status);
            (outcome.output, "instructions")
        }
    };
    print(&output, unit)
}

/// Medians over the rounds, by test and condition.
fn medians(output: &str) -> Result<BTreeMap<(String, String), f64>> {
    let mut values: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for line in output.lines().filter(|l| l.starts_with('{')) {
        let line: Line = serde_json::from_str(line).with_context(|| format!("line {line:?}"))?;
        values.entry((line.test, line.condition)).or_default().push(line.median_ns);
    }
    Ok(values
        .into_iter()
        .map(|(key, mut values)| {
            values.sort_by(f64::total_cmp);
            (key, values[values.len() / 2])
        })
        .collect())
}

fn print(output: &str, unit: &str) -> Result<()> {
    let medians = medians(output)?;
    let of = |test: &str, condition: &str| {
        let value = medians.get(&(test.to_owned(), condition.to_owned())).copied();
        value.with_context(|| format!("the benchmark says nothing of {test} while {condition}"))
    };
    println!("{:<16} {:>14} {:>10} {:>10}", "", format!("unloaded, {unit}"), "untagged", "tagged");
    for test in medians.keys().filter(|(_, condition)| condition == "unloaded").map(|(test, _)| test) {
        let base = of(test, "unloaded")?;
        let (untagged, tagged) = (of(test, "untagged")? / base, of(test, "tagged")? / base);
        println!("{test:<16} {base:>14.0} {untagged:>10.3} {tagged:>10.3}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_rounds_counts() {
        let line = |ns| format!("{{\"condition\":\"tagged\",\"test\":\"open2\",\"median_ns\":{ns}}}\n");
        let output = format!("noise\n{}{}{}", line(5), line(1), line(3));
        let medians = medians(&output).expect("valid lines");
        assert_eq!(medians[&("open2".to_owned(), "tagged".to_owned())].to_bits(), 3f64.to_bits());
    }
}
