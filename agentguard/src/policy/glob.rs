//! The glob language of file rules, parsed to tokens over bytes.
//!
//! `*` and `?` stay inside a component, `**` is a whole component and crosses any number, `[a-z]` and `[!a-z]` are
//! classes, `{a,b}` alternatives, `\` escapes. `/a/**` is `/a` itself and all below; `**/x` is `x` at any depth.

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ByteSet(pub [u64; 4]);

impl ByteSet {
    pub(super) fn contains(&self, byte: u8) -> bool {
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
pub(super) enum Token {
    Byte(u8),
    Set(ByteSet),
    /// `*`: any run without a slash.
    Star,
    /// `**/`: nothing, or any run that ends in a slash.
    Deep,
}

/// A parsed alternative of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    pub tokens: Vec<Token>,
    /// Ended in `/**`: the path so far, and everything below it.
    pub tail: bool,
}

const MAX_ALTERNATIVES: usize = 1024;

/// Expands `{a,b}`.
fn alternatives(glob: &str) -> Result<Vec<String>, String> {
    let bytes = glob.as_bytes();
    let (mut open, mut depth, mut commas, mut i) = (None, 0, Vec::new(), 0);
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'{' => {
                if depth == 0 {
                    open = Some(i);
                }
                depth += 1;
            }
            b',' if depth == 1 => commas.push(i),
            b'}' if depth == 0 => return Err("`}` without `{`".into()),
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
        i += 1;
    }
    let Some(open) = open else { return Ok(vec![glob.to_owned()]) };
    if depth != 0 {
        return Err("`{` without `}`".into());
    }
    let mut out = Vec::new();
    let mut start = open + 1;
    for end in commas.into_iter().chain([i]) {
        out.extend(alternatives(&format!("{}{}{}", &glob[..open], &glob[start..end], &glob[i + 1..]))?);
        if out.len() > MAX_ALTERNATIVES {
            return Err(format!("more than {MAX_ALTERNATIVES} alternatives"));
        }
        start = end + 1;
    }
    Ok(out)
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

fn parse_one(glob: &str) -> Result<Glob, String> {
    if !glob.starts_with('/') && !glob.starts_with("**/") {
        return Err("a path must be absolute or begin with `**/`".into());
    }
    let tail = glob.ends_with("/**");
    let bytes = if tail { &glob.as_bytes()[..glob.len() - 3] } else { glob.as_bytes() };
    let mut tokens = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let border = i == 0 || bytes[i - 1] == b'/';
        match bytes[i] {
            b'*' if bytes.get(i + 1) == Some(&b'*') => {
                if !border || bytes.get(i + 2) != Some(&b'/') {
                    return Err("`**` must be a whole component".into());
                }
                tokens.push(Token::Deep);
                i += 3;
                continue;
            }
            b'*' => tokens.push(Token::Star),
            b'?' => tokens.push(Token::Set(ByteSet([u64::MAX; 4]).without_slash())),
            b'[' => {
                let (set, next) = class(bytes, i + 1)?;
                tokens.push(Token::Set(set));
                i = next;
                continue;
            }
            b'\\' => {
                i += 1;
                let byte = bytes.get(i).ok_or("`\\` at the end")?;
                tokens.push(Token::Byte(*byte));
            }
            b'/' if i > 0 && bytes[i - 1] == b'/' => return Err("empty component `//`".into()),
            0 => return Err("a path holds no NUL".into()),
            byte => tokens.push(Token::Byte(byte)),
        }
        i += 1;
    }
    let parts = || glob.split('/').any(|c| c == "." || c == "..");
    if parts() {
        return Err("`.` and `..` never appear in a resolved path".into());
    }
    if glob.len() > 1 && glob.ends_with('/') {
        return Err("a trailing `/` matches nothing; write the directory without it, or `/**`".into());
    }
    Ok(Glob { tokens, tail })
}

/// Parses a glob into its alternatives.
pub(super) fn parse(glob: &str) -> Result<Vec<Glob>, String> {
    alternatives(glob)?.iter().map(|g| parse_one(g)).collect()
}

/// Escapes a value so that it matches only itself.
pub(super) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ',') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
