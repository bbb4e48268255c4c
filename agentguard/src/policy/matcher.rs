//! The naive reading of a glob: backtracking over the tokens. The oracle of the compiled tables, and what names the
//! rule of an event.

use super::glob::{Glob, Token};

fn matches_from(tokens: &[Token], path: &[u8], tail: bool) -> bool {
    let Some((first, rest)) = tokens.split_first() else {
        return path.is_empty() || (tail && path[0] == b'/');
    };
    match first {
        Token::Byte(b) => path.first() == Some(b) && matches_from(rest, &path[1..], tail),
        Token::Set(set) => {
            path.first().is_some_and(|&b| set.contains(b)) && matches_from(rest, &path[1..], tail)
        }
        Token::Star => {
            let run = path.iter().position(|&b| b == b'/').unwrap_or(path.len());
            (0..=run).any(|n| matches_from(rest, &path[n..], tail))
        }
        Token::Deep => {
            matches_from(rest, path, tail)
                || path
                    .iter()
                    .enumerate()
                    .any(|(i, &b)| b == b'/' && matches_from(rest, &path[i + 1..], tail))
        }
    }
}

/// Whether `glob` matches the whole `path`.
pub(super) fn matches(glob: &Glob, path: &[u8]) -> bool {
    matches_from(&glob.tokens, path, glob.tail)
}
