//! The work natively: with nothing loaded, by an untagged and by a tagged task, interleaved.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Rounds of all three conditions.
const ROUNDS: u32 = 3;
/// Operations of a measurement, in percent of the program's own choice.
const SCALE: u32 = 100;

/// A line of the benchmark program.
#[derive(Deserialize)]
struct Line {
    condition: String,
    test: String,
    median_ns: f64,
}

/// Runs it here.
pub(super) fn run(binary: &std::path::Path) -> Result<()> {
    let mut command = Command::new(super::program()?);
    command.args([ROUNDS.to_string(), SCALE.to_string()]).env("AGENTGUARD_BIN", binary);
    print(&super::output(&mut command)?)
}

/// Medians over the rounds, by test and condition.
fn medians(output: &str) -> Result<BTreeMap<(String, String), f64>> {
    let mut values: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for line in super::lines::<Line>(output)? {
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

fn print(output: &str) -> Result<()> {
    let medians = medians(output)?;
    let of = |test: &str, condition: &str| {
        let value = medians.get(&(test.to_owned(), condition.to_owned())).copied();
        value.with_context(|| format!("the benchmark says nothing of {test} while {condition}"))
    };
    println!("{:<16} {:>14} {:>10} {:>10}", "", "unloaded, ns", "untagged", "tagged");
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
