//! Which environment variables reach the agent.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::policy::model::Environment;

/// The agent's environment: what `pass` names and `deny` does not, then everything in `set`.
///
/// Nothing passes unless it is listed. The result is sorted by name and holds each name once: of a name that
/// occurs twice in `vars` the first counts, as for `getenv`.
pub fn filter(
    env: &Environment,
    vars: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let listed =
        |globs: &[String], name: &OsStr| globs.iter().any(|g| matches(g.as_bytes(), name.as_bytes()));
    let mut out = BTreeMap::new();
    for (name, value) in vars {
        if listed(&env.pass, &name) && !listed(&env.deny, &name) {
            out.entry(name).or_insert(value);
        }
    }
    for (name, value) in &env.set {
        out.insert(name.into(), value.into());
    }
    out.into_iter().collect()
}

/// Whether `glob`, in which `*` stands for any bytes, matches all of `name`.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    // Where to go back to: after the last star, and the name position it may swallow next.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g + 1, n));
            g += 1;
        } else if glob.get(g) == Some(&name[n]) {
            g += 1;
            n += 1;
        } else if let Some((after, swallowed)) = star {
            star = Some((after, swallowed + 1));
            g = after;
            n = swallowed + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pass: &[&str], deny: &[&str], set: &[(&str, &str)], vars: &[(&str, &str)]) -> Vec<String> {
        let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let env = Environment { pass: list(pass), deny: list(deny), set };
        let vars = vars.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
        filter(&env, vars).into_iter().map(|(k, v)| format!("{}={}", k.display(), v.display())).collect()
    }

    #[test]
    fn nothing_passes_unless_listed() {
        assert!(run(&[], &[], &[], &[("PATH", "/bin"), ("TOKEN", "x")]).is_empty());
    }

    #[test]
    fn deny_beats_pass_and_set_beats_both() {
        let vars = [("AWS_SECRET", "s"), ("AWS_REGION", "r"), ("HOME", "/root")];
        let got = run(&["AWS_*", "HOME"], &["*SECRET*"], &[("HOME", "/h"), ("X_SECRET", "1")], &vars);
        assert_eq!(got, ["AWS_REGION=r", "HOME=/h", "X_SECRET=1"]);
    }

    #[test]
    fn the_first_of_a_repeated_name_counts() {
        assert_eq!(run(&["*"], &[], &[], &[("A", "1"), ("A", "2")]), ["A=1"]);
    }

    #[test]
    fn stars() {
        for (glob, name, want) in [
            ("*", "", true),
            ("*", "A", true),
            ("A*B*C", "AxxByyC", true),
            ("A*B*C", "AxxByy", false),
            ("*AB", "AAB", true),
            ("PATH", "PATHX", false),
            ("path", "PATH", false),
            ("", "A", false),
        ] {
            assert_eq!(matches(glob.as_bytes(), name.as_bytes()), want, "{glob} {name}");
        }
    }
}
