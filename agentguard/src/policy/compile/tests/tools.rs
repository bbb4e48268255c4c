//! The tools that the tables name against the plain reading of their globs.

use agentguard_common::file::{state_behind, state_tool, walk};

use super::oracle::{Rule, joined, path, rule, seeded, written};
use super::tree::{self, Random};
use super::{behind_others, policy, source};
use crate::policy::compile::{CompileError, compile, intersection};
use crate::policy::model::{Policy, Tool};
use crate::policy::tool_of;

const POLICIES: usize = 2_000;
const PATHS: usize = 10;
/// Wildcards in a policy, so that few are too large for the kernel.
const WILDCARDS: usize = 12;
const TOO_LARGE: usize = 10;

#[derive(Debug, Default)]
struct Seen {
    too_large: usize,
    /// Paths that no tool, one tool, several tools match.
    tools: [usize; 3],
}

fn wildcards<'a>(mut globs: impl Iterator<Item = &'a String>) -> usize {
    globs.by_ref().map(|glob| glob.matches(['*', '?']).count()).sum()
}

/// A policy with tools, and the globs of each as trees.
fn random_policy(random: &mut Random) -> (Policy, Vec<Vec<Rule>>) {
    let rules: Vec<_> = (0..random.below(4)).map(|_| rule(random)).collect();
    let tools: Vec<Vec<_>> =
        (0..1 + random.below(4)).map(|_| (0..1 + random.below(2)).map(|_| rule(random)).collect()).collect();
    let mut with_tools = written(&rules, random);
    with_tools.tools = tools
        .iter()
        .map(|globs| Tool {
            name: "tool".into(),
            globs: globs.iter().map(|rule| tree::text(&rule.glob, random)).collect(),
            source: source(),
            policy: policy(Vec::new(), Vec::new()),
        })
        .collect();
    (with_tools, tools)
}

fn check(random: &mut Random, seen: &mut Seen) {
    let (policy, tools, compiled, below) = loop {
        let (policy, tools) = random_policy(random);
        let above = written(&[rule(random), rule(random)], random);
        let globs = policy.files.iter().chain(&above.files).map(|rule| &rule.glob);
        if wildcards(globs.chain(policy.tools.iter().flat_map(|tool| &tool.globs))) > WILDCARDS {
            continue;
        }
        let tables = compile(&policy).and_then(|own| {
            // The tools of policies further up do not count.
            let above = compile(&Policy { tools: policy.tools.clone(), ..above.clone() })?;
            let below = intersection(&[&above, &own])?;
            Ok((own, below))
        });
        match tables {
            Ok((own, below)) => break (policy, tools, own, below),
            Err(CompileError::TooManyStates(_) | CompileError::TooManyPairs(_))
                if seen.too_large < TOO_LARGE =>
            {
                seen.too_large += 1;
            }
            Err(e) => panic!("{e}"),
        }
    };
    let plain = compile(&Policy { tools: Vec::new(), ..policy.clone() }).expect("smaller");
    let all: Vec<_> = tools.iter().flatten().map(copy).collect();
    for _ in 0..PATHS {
        let path = path(&all, random);
        let bytes = joined(&path);
        let is = |tool: &&Vec<Rule>| tool.iter().any(|rule| tree::matches(&rule.glob, &path));
        let expected = tools.iter().position(|tool| is(&tool)).map_or(0, |at| at as u32 + 1);
        for tables in [&compiled, &below] {
            let (header, arena) = behind_others(tables);
            let state = state_behind(&arena[..], &header, &bytes);
            let got = state_tool(&arena[..], header.file_tables(), state);
            assert_eq!(got, expected, "{:?} under {policy:#?}", bytes.escape_ascii().to_string());
        }
        assert_eq!(tool_of(&policy, &bytes).map_or(0, |(number, _)| number), expected);
        // What may be done to a program does not depend on tools.
        let verdict = |tables| {
            let (header, arena) = behind_others(tables);
            let verdict = walk(&arena[..], &header, &bytes);
            (verdict.allow(), verdict.ask())
        };
        assert_eq!(verdict(&compiled), verdict(&plain));
        seen.tools[tools.iter().filter(is).count().min(2)] += 1;
    }
}

fn copy(rule: &Rule) -> Rule {
    Rule { glob: rule.glob.clone(), effect: rule.effect, access: rule.access }
}

#[test]
fn the_tables_name_the_first_tool_that_a_path_matches() {
    let (mut random, mut seen) = (seeded(), Seen::default());
    for _ in 0..POLICIES {
        check(&mut random, &mut seen);
    }
    println!("{seen:?}");
    assert_eq!(seen.tools.iter().sum::<usize>(), POLICIES * PATHS);
    assert!(seen.tools.iter().all(|n| *n > 500), "{seen:?}");
}

#[test]
fn an_intersection_keeps_the_tools_of_the_innermost_policy_where_nothing_is_allowed() {
    let tool = |glob: &str| Tool {
        name: "tool".into(),
        globs: vec![glob.into()],
        source: source(),
        policy: policy(Vec::new(), Vec::new()),
    };
    let with = |tools| compile(&Policy { tools, ..policy(Vec::new(), Vec::new()) }).expect("compiles");
    let both =
        intersection(&[&with(vec![tool("/a")]), &with(vec![tool("/b/**"), tool("/**")])]).expect("compiles");
    for (path, expected) in [("/a", 2), ("/b", 1), ("/b/c", 1), ("/bc", 2)] {
        let state = state_behind(&both.words[..], &both.header, path.as_bytes());
        assert_eq!(state_tool(&both.words[..], both.header.file_tables(), state), expected, "{path}");
    }
}
