//! Policies of tests, written to a file and known by line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Lets programs start and Python run; everything a test is about it adds itself.
const SYSTEM: &str = r#"    - allow: [read, exec]
      paths: ["/usr/**"]
    - allow: [read]
      paths: ["/etc/**", "/proc/**", "/sys/**", "/dev/**"]
    - allow: [read, write]
      paths: ["/dev/null", "/dev/tty", "/dev/pts/**"]
"#;

/// A policy file.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    path: PathBuf,
    text: String,
}

impl Policy {
    pub(crate) fn write(path: &Path, name: &str, files: &str, rest: &str) -> Self {
        let text = format!(
            "apiVersion: agentguard.dev/v1alpha1\nkind: AgentPolicy\nmetadata:\n  name: {name}\nspec:\n  files:\n\
             {SYSTEM}{}\n{}\n",
            files.trim_matches('\n'),
            rest.trim_matches('\n')
        );
        std::fs::write(path, &text).expect("writing a policy");
        Self { name: name.to_owned(), path: path.to_owned(), text }
    }

    /// The same under another name, which its file keeps.
    #[must_use]
    pub fn renamed(self, name: &str) -> Self {
        let text = self.text.replacen(&format!("name: {}\n", self.name), &format!("name: {name}\n"), 1);
        std::fs::write(&self.path, &text).expect("writing a policy");
        Self { name: name.to_owned(), text, ..self }
    }

    /// The document.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The number of the only line with `mark`.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[must_use]
    pub fn line(&self, mark: &str) -> u64 {
        let mut lines = (1..).zip(self.text.lines()).filter(|(_, line)| line.contains(mark));
        let (number, _) = lines.next().unwrap_or_else(|| panic!("no line with {mark:?}:\n{}", self.text));
        assert!(lines.next().is_none(), "several lines with {mark:?}:\n{}", self.text);
        number
    }
}

impl AsRef<OsStr> for Policy {
    fn as_ref(&self) -> &OsStr {
        self.path.as_os_str()
    }
}
