//! The plain reading of a glob, independent of the automaton: the oracle of the compiled tables, what names the rule of
//! an event, and what Landlock's plan matches with.

use super::glob::{Glob, Token};

/// For each position of `path`, whether `token` and then what `rest` matches can match from there to the end.
fn before(token: Token, path: &[u8], rest: &[bool]) -> Vec<bool> {
    let mut here = vec![false; path.len() + 1];
    // Whether, further right, a slash is followed by a place where `rest` matches.
    let mut after_slash = false;
    for at in (0..=path.len()).rev() {
        let byte = path.get(at).copied();
        here[at] = match token {
            Token::Byte(b) => byte == Some(b) && rest[at + 1],
            Token::Set(set) => byte.is_some_and(|b| set.contains(b)) && rest[at + 1],
            Token::Star => rest[at] || (byte.is_some_and(|b| b != b'/') && here[at + 1]),
            Token::Deep => {
                after_slash |= byte == Some(b'/') && rest[at + 1];
                rest[at] || after_slash
            }
        };
    }
    here
}

/// Whether literal tokens are these bytes.
fn is(tokens: &[Token], bytes: &[u8]) -> bool {
    tokens.iter().zip(bytes).all(|(token, byte)| *token == Token::Byte(*byte))
}

impl Glob {
    /// Whether the glob matches the whole `path`. Takes time in proportion to the lengths of both; a difference in
    /// the literal start or end is found at once.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let literal = |t: &Token| matches!(t, Token::Byte(_));
        let start = self.tokens.iter().take_while(|t| literal(t)).count();
        let (start, wild) = self.tokens.split_at(start);
        let Some((head, path)) = path.split_at_checked(start.len()) else { return false };
        if !is(start, head) {
            return false;
        }
        let end = wild.iter().rev().take_while(|t| literal(t)).count();
        let end = &wild[wild.len() - end..];
        if !self.tail && !path.len().checked_sub(end.len()).is_some_and(|at| is(end, &path[at..])) {
            return false;
        }
        let mut rest: Vec<bool> = path.iter().map(|b| self.tail && *b == b'/').chain([true]).collect();
        for token in wild.iter().rev() {
            rest = before(*token, path, &rest);
        }
        rest[0]
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::policy::glob;

    fn matches(glob: &str, path: &str) -> bool {
        let globs = glob::parse(glob).unwrap_or_else(|e| panic!("{glob}: {e}"));
        globs.iter().any(|g| g.matches(path.as_bytes()))
    }

    #[test]
    fn the_language() {
        for (glob, yes, no) in [
            ("/", "/", "/a"),
            ("/a", "/a", "/a/b"),
            ("/a/*", "/a/.b", "/a/b/c"),
            ("/*", "/a", "/"),
            ("/a?c", "/abc", "/a/c"),
            ("/[a-c]x", "/bx", "/dx"),
            ("/[!a-c]x", "/dx", "/bx"),
            ("/{a,b{1,2}}/x", "/b2/x", "/b/x"),
            ("/a/**", "/a", "/ab"),
            ("/a/**", "/a/b/c", "/b/a"),
            ("/a/**/**", "/a", "/b"),
            ("/a/**/**/b", "/a/b", "/ab"),
            ("/a/**/b", "/a/x/y/b", "/a/xb"),
            ("/**", "/", "a"),
            ("**/.env", "/.env", "/x.env"),
            ("**/.env", "/a/b/.env", "/a/.env/b"),
            ("**/.ssh/**", "/h/.ssh/id", "/h/.sshx"),
            ("**/**/x", "/a/x", "/a/ax"),
            ("@bus-*", "@bus-1", "/bus-1"),
            ("@/tmp/.X11-unix/X?", "@/tmp/.X11-unix/X0", "/tmp/.X11-unix/X0"),
            ("**/x", "/x", "@a/x"),
            ("{@a,/b}", "@a", "@b"),
            ("/\\*\\{a,b\\}", "/*{a,b}", "/xa"),
        ] {
            assert!(matches(glob, yes), "{glob} {yes}");
            assert!(!matches(glob, no), "{glob} {no}");
        }
    }

    #[test]
    fn many_stars_are_no_denial_of_service() {
        let glob = format!("/{}b", "*a".repeat(500));
        let started = Instant::now();
        assert!(!matches(&glob, &format!("/{}", "a".repeat(4000))));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
