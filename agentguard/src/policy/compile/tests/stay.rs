//! States in which the rest of a name, or of a path, changes nothing.

use agentguard_common::file::{state_verdict, step};

use super::chain::shipped;
use super::oracle::{rule, seeded, written};
use crate::policy::compile::{Compiled, compile, intersection};

const POLICIES: usize = 100;

/// How many states there are, and in how many of them a walk stays for the name, and for the path. Each state says so exactly
/// when no such byte leads out of it.
fn counted(compiled: &Compiled) -> [usize; 3] {
    let (words, tables) = (compiled.words.as_slice(), compiled.header.file_tables());
    let (mut names, mut paths) = (0, 0);
    for state in 0..compiled.header.states_len {
        let verdict = state_verdict(words, tables, state);
        let stays = |byte| step(words, tables, state, byte) == state;
        let name = (0..=u8::MAX).filter(|byte| *byte != b'/').all(stays);
        let path = name && stays(b'/');
        assert_eq!((verdict.stays_in_name(), verdict.is_final()), (name, path), "state {state}");
        names += usize::from(name);
        paths += usize::from(path);
    }
    [compiled.header.states_len as usize, names, paths]
}

#[test]
fn states_say_how_long_a_walk_stays_in_them() {
    let mut random = seeded();
    let mut sum = [0; 3];
    let some = |random: &mut _| {
        let rules: Vec<_> = (0..4).map(|_| rule(random)).collect();
        compile(&written(&rules, random)).ok()
    };
    for _ in 0..POLICIES {
        let (Some(one), Some(other)) = (some(&mut random), some(&mut random)) else { continue };
        let both = intersection(&[&one, &other]).ok();
        for compiled in both.iter().chain([&one, &other]) {
            let counts = counted(compiled);
            sum = [0, 1, 2].map(|i| sum[i] + counts[i]);
        }
    }
    let [states, names, paths] = sum;
    println!("{states} states, {names} for the rest of a name, {paths} for the rest of the path");
    assert!(states > names && names > paths && paths > POLICIES);
}

/// Behind a directory's slash and one byte that no rule waits for, the rest of the name is not read.
#[test]
fn most_names_are_settled_by_their_first_byte() {
    for policy in shipped() {
        let (words, tables) = (policy.words.as_slice(), policy.header.file_tables());
        let behind =
            |path: &str| path.bytes().fold(tables.start, |state, byte| step(words, tables, state, byte));
        for path in ["/work[1]/src/z", "/usr/lib/z", "/srv/z"] {
            assert!(state_verdict(words, tables, behind(path)).stays_in_name(), "{path}");
        }
    }
}
