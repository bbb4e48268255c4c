//! The glob language of file rules, parsed to tokens over bytes.
//!
//! `*` and `?` stay inside a component, `**` is a whole component and stands for any number of them, `[a-z]` and
//! `[!a-z]` are classes, `{a,b}` alternatives, `\` escapes. `/a/**` is `/a` itself and all below; `**/x` is `x` at
//! any depth. `@name` is an abstract socket name, in which `/` is a byte like any other but for the wildcards. This is
//! the only definition: the tables, explanations and Landlock all start from [`parse`].

mod alternatives;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(crate) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn negated(self) -> Self {
        Self(self.0.map(|w| !w))
    }

    fn without_slash(mut self) -> Self {
        self.0[usize::from(b'/' >> 6)] &= !(1 << (b'/' & 63));
        self
    }
}

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Byte(u8),
    Set(ByteSet),
    /// `*`: any run without a slash.
    Star,
    /// `**/`: nothing, or any run that ends in a slash.
    Deep,
}

/// A parsed alternative of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    /// The body: what the whole path matches, or with `tail` the path or one of its parents. Empty for `/**`.
    pub(crate) tokens: Vec<Token>,
    /// Ended in `/**`: the body, and everything below it.
    pub(crate) tail: bool,
}

/// Bytes of a glob, with its variables expanded. Keeps positions in a glob below `u16::MAX`.
const MAX_BYTES: usize = 4096;
const ANY: ByteSet = ByteSet([u64::MAX; 4]);

impl Glob {
    /// Whether it speaks of abstract socket names, not of paths.
    pub(crate) fn is_abstract(&self) -> bool {
        self.tokens.first() == Some(&Token::Byte(b'@'))
    }

    /// The body as a path, if it has no wildcards.
    pub(crate) fn literal(&self) -> Option<PathBuf> {
        let bytes = self.literal_bytes();
        (bytes.len() == self.tokens.len()).then(|| path(bytes))
    }

    /// The deepest directory that everything the glob matches is in or below; the body itself if that is literal.
    pub(crate) fn literal_prefix(&self) -> PathBuf {
        let mut bytes = self.literal_bytes();
        if bytes.len() < self.tokens.len() {
            bytes.truncate(bytes.iter().rposition(|&b| b == b'/').unwrap_or(0));
        }
        path(bytes)
    }

    /// The body alone: `/a` of `/a/**`.
    pub(crate) fn body(&self) -> Self {
        Self { tokens: self.tokens.clone(), tail: false }
    }

    /// Components of the paths that the body matches, or `None` if that varies.
    pub(crate) fn depth(&self) -> Option<usize> {
        let varies = self.tokens.contains(&Token::Deep);
        (!varies).then(|| self.tokens.iter().filter(|t| **t == Token::Byte(b'/')).count())
    }

    /// The bytes that everything it matches begins with, up to the first wildcard.
    pub(crate) fn literal_bytes(&self) -> Vec<u8> {
        self.tokens.iter().map_while(|t| if let Token::Byte(b) = t { Some(*b) } else { None }).collect()
    }
}

fn path(bytes: Vec<u8>) -> PathBuf {
    if bytes.is_empty() { "/".into() } else { OsString::from_vec(bytes).into() }
}

/// Parses a `[...]` class starting behind the `[`. Returns the set and the position behind the `]`.
fn class(bytes: &[u8], mut i: usize) -> Result<(ByteSet, usize), String> {
    let negated = matches!(bytes.get(i), Some(b'!' | b'^'));
    i += usize::from(negated);
    let mut set = ByteSet([0; 4]);
    let first = i;
    loop {
        let Some(&low) = bytes.get(i) else { return Err("`[` without `]`".into()) };
        if low == b']' && i > first {
            break;
        }
        if low >= 0x80 {
            return Err("a class holds single bytes only, not multi-byte characters".into());
        }
        if bytes.get(i + 1) == Some(&b'-') && bytes.get(i + 2).is_some_and(|&h| h != b']') {
            let high = bytes[i + 2];
            if high < low {
                return Err(format!("range `{}-{}` is backwards", low as char, high as char));
            }
            (low..=high).for_each(|b| set.insert(b));
            i += 3;
        } else {
            set.insert(low);
            i += 1;
        }
    }
    let set = if negated { set.negated() } else { set };
    Ok((set.without_slash(), i + 1))
}

/// Appends the tokens of one component.
fn component(text: &str, tokens: &mut Vec<Token>) -> Result<(), String> {
    match text {
        "" => return Err("empty component: `//`, or a `/` at the end, matches nothing".into()),
        "." | ".." => return Err("`.` and `..` never appear in a resolved path".into()),
        // A name is never empty.
        "*" => tokens.push(Token::Set(ANY.without_slash())),
        _ => {}
    }
    bytes(text, tokens)
}

/// Appends the tokens of some text without a special meaning as a whole.
fn bytes(text: &str, tokens: &mut Vec<Token>) -> Result<(), String> {
    let bytes = text.as_bytes();
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        i += 1;
        tokens.push(match byte {
            b'*' if bytes.get(i) == Some(&b'*') => return Err("`**` must be a whole component".into()),
            b'*' => Token::Star,
            b'?' => Token::Set(ANY.without_slash()),
            b'[' => {
                let (set, next) = class(bytes, i)?;
                i = next;
                Token::Set(set)
            }
            b'\\' => {
                let escaped = bytes.get(i).ok_or("`\\` escapes nothing")?;
                i += 1;
                Token::Byte(*escaped)
            }
            0 => return Err("a path holds no NUL".into()),
            byte => Token::Byte(byte),
        });
    }
    Ok(())
}

fn parse_one(glob: &str) -> Result<Glob, String> {
    if let Some(name) = glob.strip_prefix('@') {
        let mut tokens = vec![Token::Byte(b'@')];
        if name.is_empty() {
            return Err("`@` without the name of an abstract socket".into());
        }
        bytes(name, &mut tokens)?;
        return Ok(Glob { tokens, tail: false });
    }
    if glob == "/" {
        return Ok(Glob { tokens: vec![Token::Byte(b'/')], tail: false });
    }
    // `**/x` is `/**/x`.
    let components = glob.strip_prefix('/').or_else(|| glob.starts_with("**/").then_some(glob));
    let components = components
        .ok_or("a path must be absolute or begin with `**/`; an abstract socket name begins with `@`")?;
    let (mut tokens, mut deep) = (Vec::with_capacity(glob.len()), false);
    for text in components.split('/') {
        if text == "**" {
            deep = true; // also after another one: any number of components, twice, is any number
            continue;
        }
        tokens.push(Token::Byte(b'/'));
        if deep {
            tokens.push(Token::Deep);
        }
        component(text, &mut tokens)?;
        deep = false;
    }
    Ok(Glob { tokens, tail: deep })
}

/// Parses a glob into its alternatives.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn parse(glob: &str) -> Result<Vec<Glob>, String> {
    if glob.len() > MAX_BYTES {
        return Err(format!("{} bytes long, more than {MAX_BYTES}", glob.len()));
    }
    alternatives::expand(glob)?.iter().map(|g| parse_one(g)).collect()
}

/// The texts of a glob's alternatives, in the order they are written.
///
/// # Errors
/// What is wrong with its braces, for people.
pub(super) fn alternatives(glob: &str) -> Result<Vec<String>, String> {
    alternatives::expand(glob)
}

/// Escapes a value so that it matches only itself.
pub(crate) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ',') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn one(glob: &str) -> Glob {
        let mut globs = parse(glob).unwrap_or_else(|e| panic!("{glob}: {e}"));
        assert_eq!(globs.len(), 1, "{glob}");
        globs.remove(0)
    }

    #[test]
    fn literals_are_unescaped() {
        assert_eq!(one("/a/b").literal(), Some("/a/b".into()));
        assert_eq!(one(&format!("{}/**", escape("/w[1]{x,y}*"))).literal(), Some("/w[1]{x,y}*".into()));
        assert_eq!(one("/**").literal(), Some("/".into()));
        assert_eq!(one("/a/*").literal(), None);
    }

    #[test]
    fn prefixes_are_whole_components() {
        for (glob, prefix) in [
            ("/a/b", "/a/b"),
            ("/a/b/**", "/a/b"),
            ("/a/b*/c", "/a"),
            ("/a/**/c", "/a"),
            ("/a*", "/"),
            ("**/x", "/"),
            ("/", "/"),
        ] {
            assert_eq!(one(glob).literal_prefix(), PathBuf::from(prefix), "{glob}");
        }
    }

    #[test]
    fn braces_are_expanded_from_the_left() {
        for (glob, want) in [
            ("/{a,b}{c,d}", "/ac /ad /bc /bd"),
            ("/a{b,c{d,e}f}g", "/abg /acdfg /acefg"),
            ("/{a\\,b,c}\\{,", "/a,b{, /c{,"),
            ("/x{,y}{z}", "/xz /xyz"),
            ("/{\\é,{}a}{{}}", "/é /a"),
        ] {
            let texts = parse(glob).unwrap_or_else(|e| panic!("{glob}: {e}"));
            let texts: Vec<_> =
                texts.iter().map(|g| g.literal().expect("literal").display().to_string()).collect();
            assert_eq!(texts.join(" "), want, "{glob}");
        }
    }

    #[test]
    fn braces_are_no_denial_of_service() {
        let started = Instant::now();
        let chain = format!("/{}{}x", "{a,b}".repeat(10), "{}".repeat(1900));
        assert_eq!(parse(&chain).expect("short alternatives").len(), 1024);
        let nested = |depth| format!("/{}a,b{}", "{".repeat(depth), "}".repeat(depth));
        assert_eq!(parse(&nested(32)).expect("two alternatives").len(), 2);
        assert!(parse(&nested(2000)).expect_err("too deep").contains("deeper than 32"));
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }

    #[test]
    fn mistakes_are_named() {
        let long = format!("/{}", "a".repeat(MAX_BYTES));
        let many = format!("/{}", "{a,b}".repeat(11));
        let large = format!("/{}{}", "{a,b}".repeat(10), "a".repeat(1000));
        for (glob, message) in [
            ("a/b", "absolute"),
            ("**", "absolute"),
            ("**x/a", "absolute"),
            ("/a/**b", "whole component"),
            ("/a/b**/c", "whole component"),
            ("/a/***", "whole component"),
            ("/a//b", "empty component"),
            ("/a/", "empty component"),
            ("/a/{,b}", "empty component"),
            ("/a/../b", "`..`"),
            ("/a/[bc", "`[` without `]`"),
            ("/a/[b/c]", "`[` without `]`"),
            ("/a/[c-a]", "backwards"),
            ("/a/[é]", "single bytes"),
            ("/a/{b,c", "`{` without `}`"),
            ("/a/b}", "`}` without `{`"),
            ("/a\\", "escapes nothing"),
            ("@", "without the name"),
            ("@a/**", "whole component"),
            ("/a\0", "NUL"),
            (&long, "more than 4096"),
            (&many, "more than 1024 alternatives"),
            (&large, "more than 262144 bytes in all"),
        ] {
            let error = parse(glob).expect_err(glob);
            assert!(error.contains(message), "{glob}: {error}");
        }
    }
}
