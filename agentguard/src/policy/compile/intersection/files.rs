//! The product of two automata. Pairs from which nothing can be allowed or asked any more are one state, and only
//! pairs that a path can reach are made: policies that speak of different trees have a small product.

use agentguard_common::file::{
    Access, CLASS_WORDS, COMB_WORDS, STATE_WORDS, StateVerdict, Stay, state_tool, state_verdict, step,
};
use agentguard_common::policy::FileTables;
use rustc_hash::FxHashMap;

use super::super::dfa::{self, Dfa, Row};
use super::super::pack::FREE;
use super::{CompileError, Compiled, MAX_WORDS};

/// Pairs times classes of bytes: some two seconds.
const MAX_STEPS: usize = 50_000_000;
/// Stands for every pair from which nothing can be allowed.
const DEAD: (u32, u32) = (u32::MAX, u32::MAX);
/// In [`Side::ever`], beside the accesses: a tool may still be named.
const TOOL: u16 = 1 << 15;

/// One of the two automata.
struct Side<'a> {
    words: &'a [u32],
    tables: FileTables,
    /// What some path that goes on from a state is allowed or asked about: bits of [`Access`], and [`TOOL`].
    ever: Vec<u16>,
}

/// The states that lead to each state: those of state `s` are `from[starts[s]..starts[s + 1]]`.
struct Sources {
    starts: Vec<u32>,
    from: Vec<u32>,
}

impl Sources {
    fn new(compiled: &Compiled) -> Self {
        let (header, words) = (&compiled.header, &compiled.words);
        let rows = &words[header.states as usize..][..(header.states_len * STATE_WORDS) as usize];
        let comb = &words[header.comb as usize..][..(header.comb_len * COMB_WORDS) as usize];
        let defaults = rows.chunks_exact(STATE_WORDS as usize).zip(0..).map(|(row, id)| (id, row[1]));
        let exceptions = comb.chunks_exact(COMB_WORDS as usize).map(|entry| (entry[0], entry[1]));
        let edges = || defaults.clone().chain(exceptions.clone().filter(|(from, _)| *from != FREE));
        let mut starts = vec![0; header.states_len as usize + 1];
        edges().for_each(|(_, to)| starts[to as usize] += 1);
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum; // the end, from which filling goes down to the start
        }
        let mut from = vec![0; sum as usize];
        for (source, to) in edges() {
            starts[to as usize] -= 1;
            from[starts[to as usize] as usize] = source;
        }
        Self { starts, from }
    }

    fn of(&self, state: u32) -> &[u32] {
        let at = state as usize;
        &self.from[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

impl<'a> Side<'a> {
    fn new(compiled: &'a Compiled, with_tools: bool) -> Self {
        let (words, tables) = (compiled.words.as_slice(), compiled.header.file_tables());
        let here = |state| {
            let verdict = state_verdict(words, tables, state);
            let tool = if with_tools && state_tool(words, tables, state) != 0 { TOOL } else { 0 };
            verdict.allow().union(verdict.ask()).0 | tool
        };
        let mut ever: Vec<u16> = (0..compiled.header.states_len).map(here).collect();
        let sources = Sources::new(compiled);
        let mut changed: Vec<u32> = (0..compiled.header.states_len).collect();
        while let Some(state) = changed.pop() {
            let bits = ever[state as usize];
            for &source in sources.of(state) {
                let known = &mut ever[source as usize];
                if bits & !*known != 0 {
                    *known |= bits;
                    changed.push(source);
                }
            }
        }
        Self { words, tables, ever }
    }

    fn step(&self, state: u32, byte: u8) -> u32 {
        step(self.words, self.tables, state, byte)
    }

    fn class(&self, byte: u8) -> u8 {
        self.words[self.tables.classes as usize + usize::from(byte >> 2)].to_le_bytes()[usize::from(byte & 3)]
    }
}

/// Allowed if both allow; asked about if neither denies and one asks.
fn weaker(above: StateVerdict, below: StateVerdict, stay: Stay) -> StateVerdict {
    let both = |a: Access, b: Access| Access(a.0 & b.0);
    let allow = both(above.allow(), below.allow());
    let granted = both(above.allow().union(above.ask()), below.allow().union(below.ask()));
    StateVerdict::new(allow, granted.without(allow), stay)
}

struct Product<'a> {
    above: Side<'a>,
    below: Side<'a>,
    ids: FxHashMap<(u32, u32), u32>,
    pairs: Vec<(u32, u32)>,
    rows: Vec<Row>,
    exceptions: usize,
}

impl Product<'_> {
    /// The pair, or [`DEAD`] in its place.
    fn canonical(&self, pair: (u32, u32)) -> (u32, u32) {
        if pair == DEAD {
            return DEAD;
        }
        let (above, below) = (self.above.ever[pair.0 as usize], self.below.ever[pair.1 as usize]);
        if above & below & Access::ALL.0 == 0 && below & TOOL == 0 { DEAD } else { pair }
    }

    fn id(&mut self, pair: (u32, u32)) -> u32 {
        let pairs = &mut self.pairs;
        *self.ids.entry(pair).or_insert_with(|| {
            pairs.push(pair);
            pairs.len() as u32 - 1
        })
    }

    /// The row of the next pair that has none; `next` is where its classes of bytes lead.
    fn push(&mut self, pair: (u32, u32), next: &[u32], slash: u8) {
        let stay = dfa::stay(self.rows.len() as u32, next, slash);
        let (verdict, tool) = if pair == DEAD {
            (StateVerdict::new(Access::NONE, Access::NONE, stay), 0)
        } else {
            let of = |side: &Side<'_>, state| state_verdict(side.words, side.tables, state);
            let verdict = weaker(of(&self.above, pair.0), of(&self.below, pair.1), stay);
            (verdict, state_tool(self.below.words, self.below.tables, pair.1))
        };
        let row = Row::new(next, verdict, tool);
        self.exceptions += row.exceptions.len();
        self.rows.push(row);
    }

    fn within_limits(&self, classes: usize) -> Result<(), CompileError> {
        let words = CLASS_WORDS as usize
            + self.pairs.len() * STATE_WORDS as usize
            + self.exceptions * COMB_WORDS as usize;
        if words > MAX_WORDS || self.rows.len() * classes > MAX_STEPS {
            return Err(CompileError::TooManyPairs(self.pairs.len()));
        }
        Ok(())
    }
}

/// Bytes that neither automaton tells apart share a class.
fn classes(above: &Side<'_>, below: &Side<'_>) -> ([u8; 256], Vec<u8>) {
    let mut ids: FxHashMap<(u8, u8), u8> = FxHashMap::default();
    let (mut class, mut representatives) = ([0; 256], Vec::new());
    for byte in 0..=u8::MAX {
        let fresh = ids.len() as u8;
        class[usize::from(byte)] = *ids.entry((above.class(byte), below.class(byte))).or_insert_with(|| {
            representatives.push(byte);
            fresh
        });
    }
    (class, representatives)
}

/// The automaton whose verdicts are the weaker ones of both, with the tools of `below`.
pub(super) fn product(above: &Compiled, below: &Compiled) -> Result<Dfa, CompileError> {
    let (above, below) = (Side::new(above, false), Side::new(below, true));
    let (classes, representatives) = classes(&above, &below);
    let start = (above.tables.start, below.tables.start);
    let (ids, pairs, rows) = (FxHashMap::default(), Vec::new(), Vec::new());
    let mut product = Product { above, below, ids, pairs, rows, exceptions: 0 };
    let start = product.canonical(start);
    product.id(start);
    let mut next = Vec::with_capacity(representatives.len());
    while let Some(&pair) = product.pairs.get(product.rows.len()) {
        product.within_limits(representatives.len())?;
        next.clear();
        let mut last = (pair, product.rows.len() as u32);
        for &byte in &representatives {
            let to = match pair {
                DEAD => DEAD,
                (a, b) => product.canonical((product.above.step(a, byte), product.below.step(b, byte))),
            };
            if to != last.0 {
                last = (to, product.id(to)); // most classes lead where the one before them led
            }
            next.push(last.1);
        }
        product.push(pair, &next, classes[usize::from(b'/')]);
    }
    product.within_limits(representatives.len())?;
    Ok(Dfa { classes, class_count: representatives.len(), rows: product.rows })
}
