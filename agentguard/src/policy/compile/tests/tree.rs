//! Globs as trees, made at random: written as text for the compiler, and matched here component by component, by
//! nothing that the compiler uses.

use std::collections::BTreeSet;

/// Repeatable random numbers (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A byte of a file's name: anything but the slash and NUL.
    pub(super) fn byte(&mut self) -> u8 {
        match self.below(16) {
            0 => b'\n',
            1 => 0xff,
            2 => (1..=255u8).filter(|b| *b != b'/').nth(self.below(254)).unwrap_or(b'a'),
            3 | 4 => b'.',
            _ => self.pick(b"aabbc"),
        }
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }
}

/// A piece of a component.
#[derive(Clone)]
pub(super) enum Piece {
    Char(char),
    /// `?`
    Any,
    /// `*`
    Run,
    /// `[..]` or `[!..]`: inclusive ranges.
    Set {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
    /// `{..,..}`
    Either(Vec<Vec<Piece>>),
}

/// A piece of a path.
#[derive(Clone)]
pub(super) enum Part {
    Name(Vec<Piece>),
    /// `**`
    Deep,
    /// `{..,..}` of whole components.
    Either(Vec<Vec<Part>>),
}

const CHARS: [char; 16] = ['a', 'a', 'a', 'a', 'b', 'b', 'b', 'c', '.', 'é', '*', '{', ',', '\\', '\n', ']'];

fn set(random: &mut Random) -> Piece {
    let ranges: [(u8, u8); 8] = [
        (b'a', b'a'),
        (b'a', b'b'),
        (b'c', b'~'),
        (b'+', b'9'),
        (b'.', b'.'),
        (b']', b']'),
        (b'\\', b'\\'),
        (b'\n', b'\n'),
    ];
    let ranges = (0..=random.below(3)).map(|_| random.pick(&ranges)).collect();
    Piece::Set { negated: random.one_in(2), ranges }
}

/// Some characters, perhaps around a `*`.
fn alternative(random: &mut Random) -> Vec<Piece> {
    let mut pieces = vec![Piece::Char(random.pick(&CHARS))];
    if random.one_in(4) {
        pieces.extend([Piece::Run, Piece::Char(random.pick(&CHARS))]);
    }
    if random.one_in(6) {
        pieces.push(Piece::Either(vec![vec![Piece::Char('a')], vec![Piece::Char('b'), Piece::Any]]));
    }
    pieces
}

/// A component. Never `.` or `..`, never empty, and no two `*` in a row.
fn name(random: &mut Random) -> Vec<Piece> {
    if random.one_in(8) {
        return vec![Piece::Run];
    }
    let mut pieces = vec![Piece::Char(random.pick(&['a', 'a', 'b', 'é', '?']))];
    for _ in 0..random.below(4) {
        let after_run = matches!(pieces.last(), Some(Piece::Run));
        let has_run = pieces.iter().any(|p| matches!(p, Piece::Run));
        match random.below(12) {
            0 | 1 if !after_run => pieces.push(Piece::Run),
            2 => pieces.push(Piece::Any),
            3 => pieces.push(set(random)),
            4 => pieces.push(Piece::Either((0..=random.below(3)).map(|_| alternative(random)).collect())),
            5 if !has_run => {
                pieces.extend([Piece::Either(vec![vec![], alternative(random)]), Piece::Char('b')]);
            }
            _ => pieces.push(Piece::Char(random.pick(&CHARS))),
        }
    }
    if random.one_in(4) {
        pieces.rotate_left(1); // so that it may begin with anything
    }
    pieces
}

fn part(random: &mut Random, nested: bool) -> Part {
    match random.below(if nested { 10 } else { 12 }) {
        0 | 1 => Part::Deep,
        2..10 => Part::Name(name(random)),
        _ => Part::Either((0..=random.below(2)).map(|_| parts(random, 1, true)).collect()),
    }
}

fn parts(random: &mut Random, least: usize, nested: bool) -> Vec<Part> {
    (0..least + random.below(if nested { 2 } else { 4 })).map(|_| part(random, nested)).collect()
}

/// A glob of up to four components.
pub(super) fn glob(random: &mut Random) -> Vec<Part> {
    let least = usize::from(!random.one_in(40)); // without any it is `/`
    parts(random, least, false)
}

fn write_pieces(pieces: &[Piece], random: &mut Random, out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Char(c) => {
                // Only these must be escaped, but every character may be.
                if "*?[{},\\".contains(*c) || random.one_in(8) {
                    out.push('\\');
                }
                out.push(*c);
            }
            Piece::Any => out.push('?'),
            Piece::Run => out.push('*'),
            Piece::Set { negated, ranges } => {
                out.push('[');
                if *negated {
                    out.push(random.pick(&['!', '^']));
                }
                // A `]` is a member only where it comes first.
                let (first, rest): (Vec<_>, Vec<_>) = ranges.iter().partition(|(low, _)| *low == b']');
                for (low, high) in first.iter().take(1).chain(&rest) {
                    out.push(char::from(*low));
                    if low < high {
                        out.extend(['-', char::from(*high)]);
                    }
                }
                out.push(']');
            }
            Piece::Either(alternatives) => {
                write_either(alternatives, out, |pieces, out| write_pieces(pieces, random, out));
            }
        }
    }
}

fn write_either<T>(alternatives: &[T], out: &mut String, mut write: impl FnMut(&T, &mut String)) {
    out.push('{');
    for (i, alternative) in alternatives.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(alternative, out);
    }
    out.push('}');
}

fn write_parts(parts: &[Part], random: &mut Random, out: &mut String) {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.push('/');
        }
        match part {
            Part::Deep => out.push_str("**"),
            Part::Name(pieces) => write_pieces(pieces, random, out),
            Part::Either(alternatives) => {
                write_either(alternatives, out, |parts, out| write_parts(parts, random, out));
            }
        }
    }
}

/// The glob as a policy has it.
pub(super) fn text(glob: &[Part], random: &mut Random) -> String {
    let mut out = String::new();
    // `/**/x` may also be written `**/x`.
    if !matches!(glob, [Part::Deep, _, ..]) || random.one_in(2) {
        out.push('/');
    }
    write_parts(glob, random, &mut out);
    out
}

/// Where in `name` these pieces may end that begin at one of `starts`.
fn ends(pieces: &[Piece], name: &[u8], mut starts: BTreeSet<usize>) -> BTreeSet<usize> {
    for piece in pieces {
        let mut next = BTreeSet::new();
        for at in starts {
            let byte = name.get(at).copied();
            match piece {
                Piece::Char(c) => {
                    let c = c.to_string();
                    next.extend(name[at..].starts_with(c.as_bytes()).then_some(at + c.len()));
                }
                Piece::Any => next.extend(byte.map(|_| at + 1)),
                Piece::Run => next.extend(at..=name.len()),
                Piece::Set { negated, ranges } => {
                    let member = |b: u8| ranges.iter().any(|(low, high)| (*low..=*high).contains(&b));
                    next.extend(byte.filter(|b| member(*b) != *negated).map(|_| at + 1));
                }
                Piece::Either(alternatives) => {
                    next.extend(alternatives.iter().flat_map(|a| ends(a, name, BTreeSet::from([at]))));
                }
            }
        }
        starts = next;
    }
    starts
}

/// Behind how many components of the path these parts may end that begin behind one of `starts`.
fn passed(parts: &[Part], path: &[Vec<u8>], mut starts: BTreeSet<usize>) -> BTreeSet<usize> {
    for part in parts {
        let mut next = BTreeSet::new();
        for at in starts {
            match part {
                Part::Deep => next.extend(at..=path.len()),
                Part::Name(pieces) => {
                    let whole =
                        |name: &Vec<u8>| ends(pieces, name, BTreeSet::from([0])).contains(&name.len());
                    next.extend(path.get(at).is_some_and(whole).then_some(at + 1));
                }
                Part::Either(alternatives) => {
                    next.extend(alternatives.iter().flat_map(|a| passed(a, path, BTreeSet::from([at]))));
                }
            }
        }
        starts = next;
    }
    starts
}

/// Whether the glob matches the path of these components.
pub(super) fn matches(glob: &[Part], path: &[Vec<u8>]) -> bool {
    passed(glob, path, BTreeSet::from([0])).contains(&path.len())
}

fn sample_name(pieces: &[Piece], random: &mut Random, out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Char(c) => out.extend(c.to_string().bytes()),
            Piece::Any => out.push(random.byte()),
            Piece::Run => {
                let len =
                    if random.one_in(12) { 255usize.saturating_sub(out.len()) } else { random.below(4) };
                out.extend(random.bytes(len));
            }
            Piece::Set { negated: true, .. } => out.push(random.byte()),
            Piece::Set { ranges, .. } => {
                let (low, high) = random.pick(ranges);
                out.push(low + random.below(usize::from(high - low) + 1) as u8);
            }
            Piece::Either(alternatives) => {
                sample_name(&alternatives[random.below(alternatives.len())], random, out);
            }
        }
    }
}

/// Components of a path that the glob probably matches.
pub(super) fn sample(glob: &[Part], random: &mut Random) -> Vec<Vec<u8>> {
    let mut path = Vec::new();
    for part in glob {
        match part {
            Part::Deep => {
                let depth = if random.one_in(16) { 60 } else { random.below(3) };
                for _ in 0..depth {
                    let len = 1 + random.below(3);
                    path.push(random.bytes(len));
                }
            }
            Part::Name(pieces) => {
                let mut name = Vec::new();
                sample_name(pieces, random, &mut name);
                path.push(name);
            }
            Part::Either(alternatives) => {
                path.extend(sample(&alternatives[random.below(alternatives.len())], random));
            }
        }
    }
    path
}
