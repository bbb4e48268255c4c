//! The identities of tools, as the kernel plane finds them at exec.

use agentguard_common::invocation::{Tag, ToolKey};
use anyhow::{Context as _, Result};
use aya::maps::{HashMap, MapData, MapError};

use super::Kernel;

/// Key and value as the words that they are.
type Tools<'a> = HashMap<&'a mut MapData, [u32; 3], [u32; 2]>;

const fn words(key: ToolKey) -> [u32; 3] {
    [key.slot, key.policy_generation, key.tool]
}

impl Kernel {
    fn tools(&mut self) -> Result<Tools<'_>> {
        Ok(HashMap::try_from(self.ebpf.map_mut("TOOLS").context("map TOOLS")?)?)
    }

    /// Says which identity a tool has.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_tool(&mut self, key: ToolKey, tag: Tag) -> Result<()> {
        let set = self.tools()?.insert(words(key), [tag.slot, tag.generation], 0);
        set.context("noting the identity of a tool; hint: fewer invocations with tools at once")
    }

    /// Forgets a tool, if it is known.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_tool(&mut self, key: ToolKey) -> Result<()> {
        match self.tools()?.remove(&words(key)) {
            Err(MapError::KeyNotFound) => Ok(()),
            other => other.context("forgetting the identity of a tool"),
        }
    }
}
