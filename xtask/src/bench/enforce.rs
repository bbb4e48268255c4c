//! The work under every condition, in one boot of a guest whose clock counts instructions.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::vm::{self, Clock, Kernel};

/// Operations of a measurement, in percent of the program's own choice: counts repeat, so few are enough.
const SCALE: u32 = 100;
const LIMIT: Duration = Duration::from_secs(1500);
const BASE: &str = "unloaded";

/// The same root in one file system, so that the paths of the work are as long as they look: a temporary file system with
/// this root's directories in it.
const ROOT: &str = "
set -e
root=/run/bench-root
mkdir $root && mount -t tmpfs -o mode=755 bench $root
for entry in /*; do
  if [ -L $entry ]; then cp -a $entry $root$entry
  elif [ $entry = /run ]; then mkdir $root/run && mount -t tmpfs -o mode=755 run $root/run
  elif [ -d $entry ]; then mkdir -p $root$entry && mount --rbind $entry $root$entry
  fi
done
mkdir $root/old && cd $root && pivot_root . old && umount -l /old && cd /
";

/// A line of the work.
#[derive(Deserialize)]
struct Line {
    condition: String,
    test: String,
    median_ns: f64,
}

/// Measures in a guest with `kernel` and prints the table.
pub(super) fn run(binary: &Path, kernel: &Kernel) -> Result<()> {
    let (program, work) = (super::program()?, work()?);
    let script = format!(
        "{ROOT}\nAGENTGUARD_LEVEL=lsm AGENTGUARD_BIN='{}' '{}' enforce '{}' {SCALE}",
        binary.display(),
        program.display(),
        work.display()
    );
    let outcome = vm::run(kernel, &script, LIMIT, Clock::Instructions)?;
    ensure!(outcome.status == 0, "the benchmark ended with {}", outcome.status);
    if !outcome.output.contains("\"apparmor\"") {
        println!("AppArmor was left out; hint: apt-get install apparmor");
    }
    println!(
        "\nKernel {}, after {:.0?}:\n\n{}",
        kernel.release,
        outcome.elapsed,
        table(&super::lines(&outcome.output)?)?
    );
    Ok(())
}

/// The compiled work.
fn work() -> Result<PathBuf> {
    let program = crate::root().join("target/bench-work");
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-static", "-o"]).arg(&program).arg("xtask/src/bench/work.c");
    crate::run(&mut compile)?;
    Ok(program)
}

/// Names in the order in which they came.
fn in_order<'l>(lines: &'l [Line], name: impl Fn(&'l Line) -> &'l str) -> Vec<&'l str> {
    let mut names = Vec::new();
    for line in lines {
        if !names.contains(&name(line)) {
            names.push(name(line));
        }
    }
    names
}

/// Ratios to the run with nothing loaded, as a Markdown table.
fn table(lines: &[Line]) -> Result<String> {
    let of = |condition: &str, test: &str| {
        let line = lines.iter().find(|l| l.condition == condition && l.test == test);
        line.map(|l| l.median_ns).with_context(|| format!("nothing is said of {test} while {condition}"))
    };
    let (conditions, tests) = (in_order(lines, |l| &l.condition), in_order(lines, |l| &l.test));
    let mut rows =
        vec![format!("| | {} |", tests.join(" | ")), format!("|---|{}", "---|".repeat(tests.len()))];
    for condition in conditions {
        let cells: Result<Vec<_>> = tests
            .iter()
            .map(|test| {
                let (value, base) = (of(condition, test)?, of(BASE, test)?);
                Ok(if condition == BASE { format!("{value:.0}") } else { format!("{:.3}", value / base) })
            })
            .collect();
        let title = if condition == BASE { "unloaded, instructions" } else { condition };
        rows.push(format!("| {title} | {} |", cells?.join(" | ")));
    }
    Ok(rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_ratios_to_the_unloaded_run() {
        let line = |condition, ns| {
            format!("{{\"condition\":\"{condition}\",\"test\":\"open2\",\"median_ns\":{ns}}}\n")
        };
        let output = format!("noise\n{}{}", line("unloaded", 1000), line("tagged-10", 1100));
        let table = table(&super::super::lines(&output).expect("valid lines")).expect("complete");
        assert!(table.ends_with("| unloaded, instructions | 1000 |\n| tagged-10 | 1.100 |"), "{table}");
    }
}
