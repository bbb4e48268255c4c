//! The determiniser: all globs of a policy into one DFA whose states carry the verdict of every access mode.
//!
//! A general subset construction explodes on floating rules (`**/x`). Beside the positions a state holds the modes
//! that a matched `/**` tail has decided for good; a position that could only decide what is decided is dropped.

use agentguard_common::file::{Access, StateVerdict};
use rustc_hash::FxHashMap;

use super::CompileError;
use crate::policy::glob::{self, Token};
use crate::policy::model::{Effect, FileRule};

const MAX_STATES: usize = 1_000_000;

struct Pattern {
    tokens: Vec<Token>,
    tail: bool,
    effect: Effect,
    access: Access,
}

/// A place in a pattern: (pattern, token, inside a `**/` run and not at a component border).
type Position = (u32, u16, bool);

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct State {
    allow: Access,
    ask: Access,
    deny: Access,
    positions: Vec<Position>,
}

pub(super) struct Dfa {
    /// Class of each byte.
    pub(super) classes: [u8; 256],
    pub(super) class_count: usize,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    pub(super) next: Vec<u32>,
    pub(super) verdict: StateVerdict,
}

impl State {
    fn decide(&mut self, effect: Effect, access: Access) {
        let modes = match effect {
            Effect::Allow => &mut self.allow,
            Effect::Ask => &mut self.ask,
            Effect::Deny => &mut self.deny,
        };
        *modes = modes.union(access);
    }

    /// Canonical form, without what can no longer matter.
    fn pruned(mut self, patterns: &[Pattern]) -> Self {
        self.ask = self.ask.without(self.deny);
        self.allow = self.allow.without(self.deny.union(self.ask));
        let (deny, ask, allow) = (self.deny, self.ask, self.allow);
        self.positions.retain(|&(p, ..)| {
            let pattern = &patterns[p as usize];
            let decided = match pattern.effect {
                Effect::Deny => deny,
                Effect::Ask => deny.union(ask),
                Effect::Allow => deny.union(ask).union(allow),
            };
            !pattern.access.without(decided).is_empty()
        });
        self.positions.sort_unstable();
        self.positions.dedup();
        self
    }

    fn verdict(&self, patterns: &[Pattern]) -> (Access, Access) {
        let mut ended = self.clone();
        for &(p, token, _) in &self.positions {
            let pattern = &patterns[p as usize];
            if usize::from(token) == pattern.tokens.len() {
                ended.decide(pattern.effect, pattern.access);
            }
        }
        let ask = ended.ask.without(ended.deny);
        (ended.allow.without(ended.deny.union(ask)), ask)
    }
}

/// Adds a position and those reachable without reading.
fn close(patterns: &[Pattern], p: u32, mut token: u16, out: &mut Vec<Position>) {
    loop {
        out.push((p, token, false));
        match patterns[p as usize].tokens.get(usize::from(token)) {
            Some(Token::Star | Token::Deep) => token += 1,
            _ => return,
        }
    }
}

fn step(patterns: &[Pattern], state: &State, byte: u8) -> State {
    let positions = Vec::with_capacity(state.positions.len());
    let mut next = State { allow: state.allow, ask: state.ask, deny: state.deny, positions };
    for &(p, token, _) in &state.positions {
        let pattern = &patterns[p as usize];
        match pattern.tokens.get(usize::from(token)) {
            None => {
                if pattern.tail && byte == b'/' {
                    next.decide(pattern.effect, pattern.access);
                }
            }
            Some(Token::Byte(b)) if *b == byte => close(patterns, p, token + 1, &mut next.positions),
            Some(Token::Set(set)) if set.contains(byte) => close(patterns, p, token + 1, &mut next.positions),
            Some(Token::Star) if byte != b'/' => close(patterns, p, token, &mut next.positions),
            Some(Token::Deep) if byte == b'/' => close(patterns, p, token, &mut next.positions),
            Some(Token::Deep) => next.positions.push((p, token, true)),
            Some(_) => {}
        }
    }
    next.pruned(patterns)
}

fn patterns(rules: &[FileRule]) -> Result<Vec<Pattern>, CompileError> {
    let mut out = Vec::new();
    for rule in rules {
        let globs = glob::parse(&rule.glob).map_err(|message| CompileError::Glob {
            document: rule.source.document.clone(),
            line: rule.source.line,
            message,
        })?;
        out.extend(globs.into_iter().map(|g| Pattern {
            tokens: g.tokens,
            tail: g.tail,
            effect: rule.effect,
            access: rule.access,
        }));
    }
    Ok(out)
}

/// Bytes that no token tells apart share a class.
fn classes(patterns: &[Pattern]) -> ([u8; 256], Vec<u8>) {
    let mut literal = [false; 256];
    let mut sets = Vec::new();
    literal[usize::from(b'/')] = true;
    for token in patterns.iter().flat_map(|p| &p.tokens) {
        match token {
            Token::Byte(b) => literal[usize::from(*b)] = true,
            Token::Set(set) if !sets.contains(set) => sets.push(*set),
            _ => {}
        }
    }
    let mut ids: FxHashMap<(Option<u8>, Vec<bool>), u8> = FxHashMap::default();
    let mut class = [0; 256];
    let mut representatives = Vec::new();
    for byte in 0..=255u8 {
        let alone = literal[usize::from(byte)].then_some(byte);
        let signature = (alone, sets.iter().map(|s| s.contains(byte)).collect());
        let fresh = ids.len() as u8;
        class[usize::from(byte)] = *ids.entry(signature).or_insert_with(|| {
            representatives.push(byte);
            fresh
        });
    }
    (class, representatives)
}

/// Builds the DFA of all file rules.
pub(super) fn build(rules: &[FileRule]) -> Result<Dfa, CompileError> {
    let patterns = patterns(rules)?;
    let (classes, representatives) = classes(&patterns);
    let mut first = State::default();
    for p in 0..patterns.len() as u32 {
        close(&patterns, p, 0, &mut first.positions);
    }
    let first = first.pruned(&patterns);
    let mut ids: FxHashMap<State, u32> = FxHashMap::default();
    ids.insert(first.clone(), 0);
    let mut states = vec![first];
    let mut rows = Vec::new();
    while let Some(state) = states.get(rows.len()).cloned() {
        let mut next = Vec::with_capacity(representatives.len());
        for &byte in &representatives {
            let target = step(&patterns, &state, byte);
            let id = *ids.entry(target).or_insert_with_key(|target| {
                states.push(target.clone());
                states.len() as u32 - 1
            });
            next.push(id);
        }
        let (allow, ask) = state.verdict(&patterns);
        let absorbing = next.iter().all(|&n| n as usize == rows.len());
        rows.push(Row { next, verdict: StateVerdict::new(allow, ask, absorbing) });
        if states.len() > MAX_STATES {
            return Err(CompileError::TooManyStates(MAX_STATES));
        }
    }
    Ok(Dfa { classes, class_count: representatives.len(), rows })
}
