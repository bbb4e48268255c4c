//! How long a revoke takes to reach what an agent has open.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::vm::{self, Clock, Kernel};

/// What one guest may take.
const LIMIT: Duration = Duration::from_secs(3000);
/// From the store to the first refusal, natively at level `compat`, 99 times of 100.
const GOAL_US: f64 = 100.0;

/// A line of the benchmark program.
#[derive(Deserialize)]
struct Line {
    condition: String,
    test: String,
    figure: String,
    count: u32,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

/// Measures so many revokes in each condition, here at level `compat` or in a guest at level `lsm`, and prints a table.
pub(super) fn run(binary: &Path, guest: Option<&Kernel>, repeats: u32) -> Result<()> {
    let program = super::program()?;
    let output = if let Some(kernel) = guest {
        let script = format!(
            "AGENTGUARD_LEVEL=lsm AGENTGUARD_BIN='{}' '{}' revoke {repeats}",
            binary.display(),
            program.display()
        );
        let outcome = vm::run(kernel, &script, LIMIT, Clock::Time)?;
        ensure!(outcome.status == 0, "the benchmark ended with {}", outcome.status);
        outcome.output
    } else {
        let mut command = Command::new(program);
        command.args(["revoke", &repeats.to_string()]).env("AGENTGUARD_BIN", binary);
        super::output(&mut command)?
    };
    let lines: Vec<Line> = super::lines(&output)?;
    println!("{}", table(&lines));
    if guest.is_none() {
        println!("\n{}", goal(&lines)?);
    }
    Ok(())
}

fn table(lines: &[Line]) -> String {
    let mut rows = vec!["| invocations | operation | | count | p50, us | p99, us | max, us |".to_owned()];
    rows.push("|---|---|---|---|---|---|---|".into());
    for Line { condition, test, figure, count, p50_us, p99_us, max_us } in lines {
        rows.push(format!(
            "| {condition} | {test} | {figure} | {count} | {p50_us:.1} | {p99_us:.1} | {max_us:.1} |"
        ));
    }
    rows.join("\n")
}

/// Whether the worst condition with one revoked invocation meets the goal.
fn goal(lines: &[Line]) -> Result<String> {
    let single = lines.iter().filter(|l| l.figure == "store to refusal" && !l.condition.starts_with("all"));
    let worst = single.map(|l| l.p99_us).max_by(f64::total_cmp).context("no figure from store to refusal")?;
    let met = if worst < GOAL_US { "met" } else { "missed" };
    Ok(format!("goal: store to refusal within {GOAL_US:.0} us, 99 times of 100: {met} ({worst:.1} us)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(condition: &str, figure: &str, p99_us: f64) -> Line {
        let (condition, test, figure) = (condition.into(), "send".into(), figure.into());
        Line { condition, test, figure, count: 9, p50_us: 1.0, p99_us, max_us: 2e3 }
    }

    #[test]
    fn the_goal_is_of_the_worst_single_revoke() {
        let lines = [
            line("1", "store to refusal", 5.0),
            line("1 of 1000", "store to refusal", 99.0),
            line("1", "call to refusal", 500.0),
            line("all of 1000", "store to refusal", 200.0),
        ];
        assert!(goal(&lines).expect("a figure").ends_with("met (99.0 us)"));
        assert!(goal(&[line("1", "store to refusal", 100.0)]).expect("a figure").contains("missed"));
        assert!(
            table(&lines).ends_with("| all of 1000 | send | store to refusal | 9 | 1.0 | 200.0 | 2000.0 |")
        );
    }
}
