//! Compiled policies in the kernel: one copy for all invocations with the same rules.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use super::Daemon;
use crate::policy::model::Policy;
use crate::policy::{self, Explainer};

/// Policies of which an invocation may do what all allow: its own last.
pub(super) type Chain = Arc<policy::Chain>;

/// The policies of `above`, if there are any, and then `own`.
pub(super) fn chain(above: Option<&policy::Chain>, own: Arc<Explainer>) -> Chain {
    let above = above.into_iter().flat_map(|chain| chain.0.iter().cloned());
    Arc::new(policy::Chain(above.chain([own]).collect()))
}

/// Versions no longer in use whose rules are still known: events that they decided may be on their way.
const REMEMBERED: usize = 1024;

/// What is published.
#[derive(Default)]
pub(super) struct Catalogue {
    by_key: HashMap<String, u32>,
    keys: HashMap<u32, (String, u32)>,
    by_generation: HashMap<u32, Chain>,
    retired: VecDeque<u32>,
}

impl Catalogue {
    /// The rules behind a generation of tables, as events name it.
    pub(super) fn of_generation(&self, generation: u32) -> Option<Chain> {
        self.by_generation.get(&generation).cloned()
    }

    /// Notes whose rules tables of an earlier daemon are.
    pub(super) fn adopt(&mut self, generation: u32, chain: Chain) {
        self.by_generation.insert(generation, chain);
    }

    fn retire(&mut self, index: u32) {
        let Some((key, generation)) = self.keys.remove(&index) else { return };
        self.by_key.remove(&key);
        self.retired.push_back(generation);
        if self.retired.len() > REMEMBERED
            && let Some(oldest) = self.retired.pop_front()
        {
            self.by_generation.remove(&oldest);
        }
    }
}

/// What two chains share if and only if they decide alike and are explained alike.
fn key(chain: &Chain) -> Result<String> {
    let mut hash = Sha256::new();
    for explainer in &chain.0 {
        let text = serde_json::to_vec(&**explainer.policy())?;
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Daemon {
    /// Tables for `chain`, with one user more. Compiles outside of all locks where nobody has them yet.
    pub(super) fn tables(&self, chain: &Chain) -> Result<u32> {
        let key = key(chain)?;
        if let Some(index) = self.published(&key) {
            return Ok(index);
        }
        let policies: Vec<&Policy> = chain.0.iter().map(|explainer| &**explainer.policy()).collect();
        let compiled = policy::compile::compile_chain(&policies)?;
        let mut kernel = self.kernel();
        let mut catalogue = super::lock(&self.catalogue);
        if let Some(index) = catalogue.by_key.get(&key).copied().filter(|index| kernel.hold(*index)) {
            return Ok(index); // somebody else was faster
        }
        let (index, generation) = kernel.publish(&compiled)?;
        catalogue.by_key.insert(key.clone(), index);
        catalogue.keys.insert(index, (key, generation));
        catalogue.by_generation.insert(generation, chain.clone());
        Ok(index)
    }

    fn published(&self, key: &str) -> Option<u32> {
        let mut kernel = self.kernel();
        let index = super::lock(&self.catalogue).by_key.get(key).copied()?;
        kernel.hold(index).then_some(index)
    }

    /// One user less.
    pub(super) fn release_tables(&self, index: u32) {
        let mut kernel = self.kernel();
        if kernel.release(index) {
            super::lock(&self.catalogue).retire(index);
        }
    }
}
