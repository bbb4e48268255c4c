//! Cases that a policy is tested with: questions, and the answers that somebody expects.

use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

use super::document::{Names, Variables, mistake, nearest};
use super::error::PolicyError;
use super::judge::{Answer, Part, Request};

/// How a case says that no rule decides.
const NO_RULE: &str = "none";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    operation: Spanned<Names>,
    object: Spanned<String>,
    protocol: Option<Spanned<String>>,
    expect: Spanned<String>,
    rule: Option<Spanned<String>>,
    tool: Option<String>,
}

/// A case, checked.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    /// Where it was written.
    pub line: u64,
    /// The question, for people: `read /a`.
    pub question: String,
    pub request: Request,
    expect: &'static str,
    /// `document:line`, or [`NO_RULE`].
    rule: Option<String>,
    tool: Option<String>,
}

/// What came of a case.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome<'a> {
    pub name: &'a str,
    pub line: u64,
    pub question: &'a str,
    pub answer: Answer,
    /// What was expected and is not so. Empty: the case passed.
    pub failures: Vec<String>,
}

fn error(file: &str, at: Location, message: impl Into<String>, hint: impl Into<String>) -> PolicyError {
    let (line, column) = (at.line(), at.column());
    PolicyError { file: file.to_owned(), line, column, message: message.into(), hint: Some(hint.into()) }
}

/// Reads the cases of a YAML document: a list.
///
/// # Errors
/// The first mistake, with its line, column and a hint.
pub fn load(file: &str, yaml: &str, variables: &Variables) -> Result<Vec<Case>, PolicyError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let written: Vec<Spanned<Written>> = serde_saphyr::from_str_with_options(yaml, options)
        .map_err(|e| mistake(file, &e, "write a list of cases: `- name: ..`"))?;
    if written.is_empty() {
        let (message, hint) = ("no cases".into(), Some("write a list of cases: `- name: ..`".into()));
        return Err(PolicyError { file: file.to_owned(), line: 1, column: 1, message, hint });
    }
    written.iter().map(|case| check(file, case, variables)).collect()
}

fn check(file: &str, written: &Spanned<Written>, variables: &Variables) -> Result<Case, PolicyError> {
    let case = &written.value;
    let operations = case.operation.value.list(case.operation.referenced);
    let names: Vec<_> = operations.iter().map(|(_, name)| *name).collect();
    let object = variables
        .expand(&case.object.value, str::to_owned)
        .map_err(|(message, hint)| error(file, case.object.referenced, message, hint))?;
    let protocol = case.protocol.as_ref();
    let request = Request::parse(&names, &object, protocol.map(|p| p.value.as_str())).map_err(|e| {
        let at = match e.part {
            Part::Operation(place) => operations.get(place).map(|(at, _)| *at),
            Part::Protocol => protocol.map(|p| p.referenced),
            Part::Object => Some(case.object.referenced),
        };
        error(file, at.unwrap_or(case.operation.referenced), e.message, e.hint)
    })?;
    let known = ["allow", "deny", "ask"];
    let expect = known.into_iter().find(|e| *e == case.expect.value).ok_or_else(|| {
        let message = format!("unknown decision `{}`", case.expect.value);
        error(file, case.expect.referenced, message, nearest(&case.expect.value, &known))
    })?;
    if let Some(rule) = &case.rule {
        let place = rule.value.rsplit_once(':');
        if rule.value != NO_RULE && place.is_none_or(|(_, line)| line.parse::<u32>().is_err()) {
            let message = format!("`{}` is no place of a rule", rule.value);
            let hint = "`<policy or preset>:<line>`, or `none` if no rule decides";
            return Err(error(file, rule.referenced, message, hint));
        }
    }
    let mut question = format!("{} {object}", names.join("+"));
    if let Some(protocol) = protocol {
        question = format!("{question} {}", protocol.value);
    }
    Ok(Case {
        name: case.name.clone(),
        line: written.referenced.line(),
        question,
        request,
        expect,
        rule: case.rule.as_ref().map(|rule| rule.value.clone()),
        tool: case.tool.clone(),
    })
}

impl Case {
    /// Compares an answer with what is expected.
    #[must_use]
    pub fn judge(&self, answer: Answer) -> Outcome<'_> {
        let mut failures = Vec::new();
        let mut expect = |what: &str, expected: &str, got: &str| {
            if expected != got {
                failures.push(format!("expected {what} {expected}, got {got}"));
            }
        };
        expect("decision", self.expect, answer.decision);
        if let Some(rule) = &self.rule {
            let got = answer
                .rule
                .as_ref()
                .map_or_else(|| NO_RULE.to_owned(), |r| format!("{}:{}", r.document, r.line));
            expect("rule", rule, &got);
        }
        if let Some(tool) = &self.tool {
            expect("tool", tool, answer.tool.as_deref().unwrap_or("none"));
        }
        Outcome { name: &self.name, line: self.line, question: &self.question, answer, failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let path = |p: &str| p.to_owned();
        Variables {
            home: path("/home/u"),
            workspace: path("/w"),
            user: path("u"),
            uid: 1000,
            tmp: path("/tmp"),
        }
    }

    #[test]
    fn mistakes_have_a_place_and_a_hint() {
        let case = |body: &str| format!("- {{name: a, {body}}}\n");
        for (yaml, at, message, hint) in [
            (
                case("operation: reed, object: /a, expect: deny"),
                (1, 24),
                "unknown operation `reed`",
                "`read`?",
            ),
            (case("operation: [read, bnd], object: /a, expect: deny"), (1, 31), "operation `bnd`", "`bind`?"),
            (case("operation: [], object: /a, expect: deny"), (1, 24), "no operation", "at least one"),
            (case("operation: read, object: a, expect: deny"), (1, 38), "no path", "absolute"),
            (case("operation: read, object: \"${hme}\", expect: deny"), (1, 38), "variable `hme`", "`home`?"),
            (case("operation: read, object: /a, expect: dney"), (1, 50), "decision `dney`", "`deny`?"),
            (
                case("operation: read, object: /a, expect: deny, rule: 12"),
                (1, 62),
                "no place of a rule",
                "`none`",
            ),
            (
                case("operation: bind, object: '::1', protocol: upd, expect: deny"),
                (1, 55),
                "protocol `upd`",
                "`udp`?",
            ),
            (case("operation: read, objct: /a, expect: deny"), (1, 30), "unknown field `objct`", "`object`?"),
            (case("operation: read, object: /a"), (1, 30), "missing field `expect`", "add `expect:`"),
            ("a: b\n".into(), (1, 1), "wrong type", "sequence"),
            ("[]\n".into(), (1, 1), "no cases", "`- name: ..`"),
            (String::new(), (1, 1), "no cases", "`- name: ..`"),
        ] {
            let error = load("c.yaml", &yaml, &variables()).expect_err(&yaml);
            assert_eq!((error.line, error.column), at, "{yaml}\n{error}");
            assert!(error.message.contains(message), "{yaml}\n{error}");
            assert!(error.hint.as_ref().is_some_and(|h| h.contains(hint)), "{yaml}\n{error}");
        }
    }

    #[test]
    fn variables_stand_for_themselves_in_objects() {
        let yaml = "- name: a\n  operation: [read, write]\n  object: ${workspace}/*{x}\n  expect: ask\n";
        let cases = load("c.yaml", yaml, &variables()).expect("loads");
        assert_eq!(cases[0].request, Request::parse(&["read", "write"], "/w/*{x}", None).expect("a request"));
        assert_eq!((cases[0].question.as_str(), cases[0].line), ("read+write /w/*{x}", 1));
    }
}
