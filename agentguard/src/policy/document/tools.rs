//! `tools:`: programs that run under rules of their own.

use agentguard_common::policy::MAX_TOOLS;
use serde_saphyr::Spanned;

use super::read::Reader;
use super::schema::{self, Document};
use super::{Variables, check_name, collect, empty, merge_rules};
use crate::policy::error::PolicyError;
use crate::policy::model::{Policy, Tool};

/// Reads the tools of all documents of one policy.
pub(super) struct Tools<'a> {
    variables: &'a Variables,
    preset: &'a dyn Fn(&str) -> Option<&'static str>,
    /// Presets that tools include, for the digest.
    pub(super) includes: Vec<(String, Document)>,
}

impl<'a> Tools<'a> {
    pub(super) fn new(variables: &'a Variables, preset: &'a dyn Fn(&str) -> Option<&'static str>) -> Self {
        Self { variables, preset, includes: Vec::new() }
    }

    /// Adds the tools of one document.
    pub(super) fn add(
        &mut self,
        file: &str,
        document: &Document,
        policy: &mut Policy,
    ) -> Result<(), PolicyError> {
        let reader = Reader::new(file, document, self.variables);
        for written in &document.spec.tools {
            let tool = self.tool(file, &reader, written, policy)?;
            policy.tools.push(tool);
        }
        Ok(())
    }

    fn tool(
        &mut self,
        file: &str,
        reader: &Reader<'_>,
        written: &Spanned<schema::Tool>,
        outer: &Policy,
    ) -> Result<Tool, PolicyError> {
        let (at, tool) = (written.referenced, &written.value);
        check_name(file, &tool.name)?;
        let name = &tool.name.value;
        if let Some(nested) = &tool.tools {
            let hint = "a tool keeps its identity: list the programs that need one of their own beside it";
            return Err(reader.error(nested.referenced, "a tool has no tools", hint));
        }
        if outer.tools.iter().any(|t| t.name == *name) {
            let (message, hint) = (format!("two tools are called `{name}`"), "give one of them another name");
            return Err(reader.error(tool.name.referenced, message, hint));
        }
        if outer.tools.len() >= MAX_TOOLS as usize {
            let hint = "one tool can have several paths";
            return Err(reader.error(at, format!("more than {MAX_TOOLS} tools"), hint));
        }
        let mut policy = empty(format!("{}/{name}", outer.name), tool.mode);
        merge_rules(reader, &tool.files, &tool.network, &tool.privileges, &mut policy)?;
        let mut includes = Vec::new();
        collect(file, &tool.include, self.preset, &mut Vec::new(), &mut includes)?;
        for (name, preset) in &includes {
            let spec = &preset.spec;
            let file = format!("preset {name}");
            let reader = Reader::new(&file, preset, self.variables);
            merge_rules(&reader, &spec.files, &spec.network, &spec.privileges, &mut policy)?;
        }
        self.includes.extend(includes);
        let globs = programs(reader, tool)?;
        let source = reader.source(tool.name.referenced, None);
        Ok(Tool { name: name.clone(), globs, source, policy })
    }
}

/// The paths of a tool's programs.
fn programs(reader: &Reader<'_>, tool: &schema::Tool) -> Result<Vec<String>, PolicyError> {
    if tool.paths.value.is_empty() {
        let hint = "write the path of at least one program";
        return Err(reader.error(tool.paths.referenced, "a tool without paths", hint));
    }
    let program = |path: &Spanned<String>| {
        let (glob, is_abstract) = reader.glob(path)?;
        if is_abstract {
            let message = format!("`{}` is an abstract socket, not a program", path.value);
            return Err(reader.error(path.referenced, message, "such as /usr/bin/git"));
        }
        Ok(glob)
    };
    tool.paths.value.iter().map(program).collect()
}
