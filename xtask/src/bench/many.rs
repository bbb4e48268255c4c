//! What many invocations at once cost, natively.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Invocations at once.
const COUNTS: [&str; 3] = ["1", "1000", "10000"];

/// Measures here, at level `compat`, and prints a table: a column for each number, twice, since the second time slots and
/// memory of the first are used again.
pub(super) fn run(binary: &Path) -> Result<()> {
    let mut command = Command::new(super::program()?);
    command.arg("many").args(COUNTS).env("AGENTGUARD_BIN", binary);
    println!("{}", table(&super::lines(&super::output(&mut command)?)?)?);
    Ok(())
}

/// A line of the benchmark program.
#[derive(Deserialize)]
struct Column {
    figures: Vec<(String, f64)>,
}

fn table(columns: &[Column]) -> Result<String> {
    let first = columns.first().context("the benchmark printed nothing")?;
    let mut rows = Vec::new();
    for (n, (name, _)) in first.figures.iter().enumerate() {
        let cell =
            |(_, value): &(String, f64)| if n == 0 { value.to_string() } else { format!("{value:.2}") };
        let cells: Option<Vec<_>> = columns.iter().map(|column| column.figures.get(n).map(cell)).collect();
        rows.push(format!("| {name} | {} |", cells.with_context(|| format!("no {name}"))?.join(" | ")));
    }
    rows.insert(1.min(rows.len()), format!("|---|{}", "---|".repeat(columns.len())));
    Ok(rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_invocations_has_a_column() {
        let line = |count, ms| format!("{{\"figures\":[[\"invocations\",{count}.0],[\"list, ms\",{ms}]]}}\n");
        let lines = line(1, 0.5) + &line(1000, 12.345);
        let table = table(&crate::bench::lines(&lines).expect("JSON")).expect("complete");
        assert_eq!(table, "| invocations | 1 | 1000 |\n|---|---|---|\n| list, ms | 0.50 | 12.35 |");
    }
}
