//! The determiniser: all globs of a policy into one DFA whose states carry the verdict of every access mode.
//!
//! The same states carry which tool's program a path is, for the walk that decides its execution.
//!
//! A general subset construction explodes on floating rules (`**/x`). Beside the positions a state holds the modes
//! that a matched `/**` tail has decided for good; a position that could only decide what is decided is dropped.

use std::rc::Rc;

use agentguard_common::file::{Access, CLASS_WORDS, COMB_WORDS, STATE_WORDS, StateVerdict, Stay};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{CompileError, MAX_WORDS};
use crate::policy::glob::{self, Token};
use crate::policy::model::{Effect, FileRule, RuleSource, Tool};

/// Bytes of all globs of a policy, alternatives counted one by one (40 MB as tokens).
const MAX_TOKENS: usize = 1_000_000;
/// Positions of all states together (64 MB).
const MAX_POSITIONS: usize = 8_000_000;
/// Positions times classes of bytes, over all states: a few seconds.
const MAX_STEPS: usize = 400_000_000;

/// What a pattern says of the paths that it matches.
#[derive(Clone, Copy)]
enum Says {
    Rule(Effect, Access),
    /// They are programs of this tool, counted from 1.
    Tool(u32),
}

struct Pattern {
    tokens: Vec<Token>,
    tail: bool,
    says: Says,
}

/// A place in a pattern: (pattern, token, inside a `**/` run and not at a component border).
type Position = (u32, u16, bool);

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct State {
    allow: Access,
    ask: Access,
    deny: Access,
    /// 0 for none. The first tool counts, so a later one can change nothing any more.
    tool: u32,
    positions: Vec<Position>,
}

pub(super) struct Dfa {
    /// Class of each byte.
    pub(super) classes: [u8; 256],
    pub(super) class_count: usize,
    pub(super) rows: Vec<Row>,
}

/// Where a state leads: to `default`, except for these classes of bytes.
pub(super) struct Row {
    pub(super) default: u32,
    pub(super) exceptions: Vec<(u8, u32)>,
    pub(super) verdict: StateVerdict,
    /// The tool that a path which ends here names, counted from 1; 0 for none.
    pub(super) tool: u32,
}

impl Row {
    /// The most frequent target is the default.
    pub(super) fn new(next: &[u32], verdict: StateVerdict, tool: u32) -> Self {
        let mut sorted = next.to_vec();
        sorted.sort_unstable();
        let best = sorted.chunk_by(|a, b| a == b).max_by_key(|run| run.len());
        let default = best.map_or(0, |run| run[0]);
        let exceptions = (0..=u8::MAX).zip(next.iter().copied()).filter(|(_, next)| *next != default);
        Self { default, exceptions: exceptions.collect(), verdict, tool }
    }
}

impl State {
    fn decide(&mut self, says: Says) {
        let (modes, access) = match says {
            Says::Rule(Effect::Allow, access) => (&mut self.allow, access),
            Says::Rule(Effect::Ask, access) => (&mut self.ask, access),
            Says::Rule(Effect::Deny, access) => (&mut self.deny, access),
            Says::Tool(tool) => {
                self.tool = if self.tool == 0 { tool } else { self.tool.min(tool) };
                return;
            }
        };
        *modes = modes.union(access);
    }

    /// Canonical form, without what can no longer matter.
    fn pruned(mut self, patterns: &[Pattern]) -> Self {
        self.ask = self.ask.without(self.deny);
        self.allow = self.allow.without(self.deny.union(self.ask));
        let (deny, ask, allow, tool) = (self.deny, self.ask, self.allow, self.tool);
        self.positions.retain(|&(p, ..)| {
            let (decided, access) = match patterns[p as usize].says {
                Says::Rule(Effect::Deny, access) => (deny, access),
                Says::Rule(Effect::Ask, access) => (deny.union(ask), access),
                Says::Rule(Effect::Allow, access) => (deny.union(ask).union(allow), access),
                Says::Tool(this) => return tool == 0 || this < tool,
            };
            !access.without(decided).is_empty()
        });
        self.positions.sort_unstable();
        self.positions.dedup();
        self
    }

    /// What is allowed and asked of a path that ends here, and the tool that it names.
    fn verdict(&self, patterns: &[Pattern]) -> (Access, Access, u32) {
        let mut ended = self.clone();
        for &(p, token, _) in &self.positions {
            let pattern = &patterns[p as usize];
            if usize::from(token) == pattern.tokens.len() {
                ended.decide(pattern.says);
            }
        }
        let ask = ended.ask.without(ended.deny);
        (ended.allow.without(ended.deny.union(ask)), ask, ended.tool)
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
    let &State { allow, ask, deny, tool, .. } = state;
    let mut next = State { allow, ask, deny, tool, positions };
    for &(p, token, _) in &state.positions {
        let pattern = &patterns[p as usize];
        match pattern.tokens.get(usize::from(token)) {
            None => {
                if pattern.tail && byte == b'/' {
                    next.decide(pattern.says);
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

fn patterns(rules: &[FileRule], tools: &[Tool]) -> Result<Vec<Pattern>, CompileError> {
    let rules = rules.iter().map(|r| (&r.glob, &r.source, Says::Rule(r.effect, r.access)));
    let tools = (1..)
        .zip(tools)
        .flat_map(|(n, tool)| tool.globs.iter().map(move |glob| (glob, &tool.source, Says::Tool(n))));
    let (mut out, mut tokens) = (Vec::new(), 0);
    for (glob, source, says) in rules.chain(tools) {
        let error = |message| {
            let RuleSource { document, line, .. } = source.clone();
            CompileError::Glob { document, line, message }
        };
        for glob in glob::parse(glob).map_err(error)? {
            tokens += glob.tokens.len();
            if tokens > MAX_TOKENS {
                return Err(CompileError::LongGlobs(MAX_TOKENS));
            }
            out.push(Pattern { tokens: glob.tokens, tail: glob.tail, says });
        }
    }
    Ok(out)
}

/// How long a walk stays in state `id`, which leads to `next` by class of byte. The class of a slash has nothing else in it.
pub(super) fn stay(id: u32, next: &[u32], slash: u8) -> Stay {
    let leaves = |class: usize| next[class] != id;
    match (leaves(usize::from(slash)), (0..next.len()).filter(|class| leaves(*class)).count()) {
        (false, 0) => Stay::Path,
        (true, 1) => Stay::Name,
        _ => Stay::None,
    }
}

/// Bytes that no token tells apart share a class.
fn classes(patterns: &[Pattern]) -> ([u8; 256], Vec<u8>) {
    let mut literal = [false; 256];
    let mut sets = FxHashSet::default();
    literal[usize::from(b'/')] = true;
    for token in patterns.iter().flat_map(|p| &p.tokens) {
        match token {
            Token::Byte(b) => literal[usize::from(*b)] = true,
            Token::Set(set) => {
                sets.insert(*set);
            }
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

/// The states found so far. The first `rows.len()` of them have their row.
#[derive(Default)]
struct Builder {
    ids: FxHashMap<Rc<State>, u32>,
    states: Vec<Rc<State>>,
    rows: Vec<Row>,
    positions: usize,
    exceptions: usize,
    steps: usize,
}

impl Builder {
    fn id(&mut self, mut state: State) -> u32 {
        if let Some(id) = self.ids.get(&state) {
            return *id;
        }
        state.positions.shrink_to_fit(); // it was made as large as the state before it
        self.positions += state.positions.len();
        let (id, state) = (self.states.len() as u32, Rc::new(state));
        self.ids.insert(state.clone(), id);
        self.states.push(state);
        id
    }

    fn push(&mut self, row: Row) {
        self.exceptions += row.exceptions.len();
        self.rows.push(row);
    }

    /// Ends a construction that leads to tables no policy may have, or to none within reasonable time.
    fn within_limits(&self) -> Result<(), CompileError> {
        let words = CLASS_WORDS as usize
            + self.states.len() * STATE_WORDS as usize
            + self.exceptions * COMB_WORDS as usize;
        if words > MAX_WORDS || self.positions > MAX_POSITIONS || self.steps > MAX_STEPS {
            return Err(CompileError::TooManyStates(self.states.len()));
        }
        Ok(())
    }
}

/// Builds the DFA of all file rules and tools.
pub(super) fn build(rules: &[FileRule], tools: &[Tool]) -> Result<Dfa, CompileError> {
    let patterns = patterns(rules, tools)?;
    let (classes, representatives) = classes(&patterns);
    let mut first = State::default();
    for p in 0..patterns.len() as u32 {
        close(&patterns, p, 0, &mut first.positions);
    }
    let mut builder = Builder::default();
    builder.id(first.pruned(&patterns));
    let mut next = Vec::with_capacity(representatives.len());
    while let Some(state) = builder.states.get(builder.rows.len()).cloned() {
        builder.steps += state.positions.len() * representatives.len();
        builder.within_limits()?;
        next.clear();
        next.extend(representatives.iter().map(|byte| builder.id(step(&patterns, &state, *byte))));
        let (allow, ask, tool) = state.verdict(&patterns);
        let stay = stay(builder.rows.len() as u32, &next, classes[usize::from(b'/')]);
        builder.push(Row::new(&next, StateVerdict::new(allow, ask, stay), tool));
    }
    builder.within_limits()?;
    Ok(Dfa { classes, class_count: representatives.len(), rows: builder.rows })
}
