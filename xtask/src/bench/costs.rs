//! What the daemon and the decision core cost, natively.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::Deserialize;

/// A line of the benchmark program.
#[derive(Deserialize)]
struct Figure {
    figure: String,
    unit: String,
    value: f64,
    baseline: String,
    base: f64,
}

/// Measures here, at level `compat`, and prints a table.
pub(super) fn run(binary: &Path) -> Result<()> {
    let mut command = Command::new(super::program()?);
    command.arg("costs").env("AGENTGUARD_BIN", binary);
    print!("{}", table(&super::lines(&super::output(&mut command)?)?));
    Ok(())
}

fn table(figures: &[Figure]) -> String {
    let mut table = "| | | ratio | to |\n|---|---|---|---|\n".to_owned();
    for Figure { figure, unit, value, baseline, base } in figures {
        let (value, base, ratio) = (rounded(*value), rounded(*base), value / base);
        table += &format!("| {figure} | {value} {unit} | {ratio:.2} | {baseline}: {base} {unit} |\n");
    }
    table
}

fn rounded(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_stands_beside_its_baseline() {
        let line =
            "{\"figure\":\"start\",\"unit\":\"ms\",\"value\":150.4,\"baseline\":\"loading\",\"base\":75.2}\n";
        let table = table(&crate::bench::lines(line).expect("JSON"));
        assert_eq!(table.lines().last(), Some("| start | 150 ms | 2.00 | loading: 75.20 ms |"));
    }
}
