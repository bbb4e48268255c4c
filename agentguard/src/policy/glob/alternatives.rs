//! `{a,b}`: from one glob to all its alternatives.

use std::str::Chars;

const MAX_ALTERNATIVES: usize = 1024;
/// Bytes of all alternatives of a glob.
const MAX_EXPANDED: usize = 1 << 18;
/// Braces inside one another.
const MAX_NESTED: u32 = 32;

/// Alternatives of a glob. Their number and size are bounded while they are made.
struct Alternatives {
    texts: Vec<String>,
    bytes: usize,
}

impl Alternatives {
    fn none() -> Self {
        Self { texts: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, text: String) -> Result<(), String> {
        self.bytes += text.len();
        self.texts.push(text);
        if self.texts.len() > MAX_ALTERNATIVES {
            return Err(format!("more than {MAX_ALTERNATIVES} alternatives"));
        }
        self.check_size()
    }

    fn check_size(&self) -> Result<(), String> {
        if self.bytes > MAX_EXPANDED {
            return Err(format!("its alternatives have more than {MAX_EXPANDED} bytes in all"));
        }
        Ok(())
    }

    /// Continues each with `c`.
    fn push(&mut self, c: char) -> Result<(), String> {
        self.bytes += self.texts.len() * c.len_utf8();
        self.texts.iter_mut().for_each(|text| text.push(c));
        self.check_size()
    }

    /// Continues each with each of `tails`.
    fn branch(mut self, tails: Self) -> Result<Self, String> {
        if let [tail] = tails.texts.as_slice() {
            tail.chars().try_for_each(|c| self.push(c))?;
            return Ok(self);
        }
        let mut out = Self::none();
        for (head, tail) in
            self.texts.iter().flat_map(|head| tails.texts.iter().map(move |tail| (head, tail)))
        {
            out.add(format!("{head}{tail}"))?;
        }
        Ok(out)
    }
}

/// Expands `{a,b}` to the end, or inside braces (`depth` of them) to the `,` or `}` that ends this alternative, which
/// is returned too.
fn alternatives(glob: &mut Chars<'_>, depth: u32) -> Result<(Alternatives, Option<char>), String> {
    let mut out = Alternatives::none();
    out.add(String::new())?;
    while let Some(c) = glob.next() {
        match c {
            ',' | '}' if depth > 0 => return Ok((out, Some(c))),
            '}' => return Err("`}` without `{`".into()),
            '{' if depth == MAX_NESTED => return Err(format!("braces nested deeper than {MAX_NESTED}")),
            '{' => out = out.branch(braces(glob, depth + 1)?)?,
            '\\' => {
                // Stays, for the alternative is parsed later.
                out.push(c)?;
                glob.next().map_or(Ok(()), |escaped| out.push(escaped))?;
            }
            _ => out.push(c)?,
        }
    }
    if depth > 0 { Err("`{` without `}`".into()) } else { Ok((out, None)) }
}

/// What stands between `{` and `}`; starts behind the first, ends behind the second.
fn braces(glob: &mut Chars<'_>, depth: u32) -> Result<Alternatives, String> {
    let mut out = Alternatives::none();
    loop {
        let (some, end) = alternatives(glob, depth)?;
        some.texts.into_iter().try_for_each(|text| out.add(text))?;
        if end == Some('}') {
            return Ok(out);
        }
    }
}

/// All alternatives of a glob, in the order they are written.
///
/// # Errors
/// Braces without their other half, or more than the limits above.
pub(super) fn expand(glob: &str) -> Result<Vec<String>, String> {
    let (expanded, _) = alternatives(&mut glob.chars(), 0)?;
    Ok(expanded.texts)
}
