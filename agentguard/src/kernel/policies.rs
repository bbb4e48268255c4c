//! Compiled policies in the kernel: written beside those in use, and named by index and generation.

use agentguard_common::Words;
use agentguard_common::invocation::Control;
use agentguard_common::policy::{ARENA_WORDS, MAX_POLICIES, PolicyHeader};
use anyhow::{Context as _, Result, bail};

use super::mapped::Mapped;
use super::tables::Tables;
use super::{Kernel, grace};
use crate::policy::compile::{Compiled, RESERVED};

/// The arena, read as the kernel reads it.
struct Arena<'a>(&'a Mapped<u32>);

impl Words for Arena<'_> {
    fn word(&self, index: u32) -> u32 {
        self.0.get((index & (ARENA_WORDS - 1)) as usize)
    }
}

impl Kernel {
    /// Takes over the versions that the slots in `live` use. To be called once, before [`Self::publish`].
    pub fn adopt_tables(&mut self, live: impl Iterator<Item = u32>) {
        let mut users = std::collections::BTreeMap::<u32, u32>::new();
        for slot in live {
            *users.entry(self.invocation(slot).policy).or_default() += 1;
        }
        let in_use = users.into_iter().filter(|(index, _)| (1..MAX_POLICIES).contains(index));
        let in_use: Vec<_> = in_use.map(|(i, users)| (i, self.policies.get(i as usize), users)).collect();
        // A build from before the kernel remembered states by generation left no newest one behind.
        let generations = (0..MAX_POLICIES).map(|i| self.policies.get(i as usize).generation);
        let newest = generations.fold(self.control.get(0).newest_policy, u32::max);
        self.tables = Tables::adopted(&in_use, RESERVED as u32, newest);
    }

    /// Writes a compiled policy beside the others, for one user. Returns its index in `POLICIES`, and its generation.
    ///
    /// # Errors
    /// When the arena or the table of policies is full.
    pub fn publish(&mut self, compiled: &Compiled) -> Result<(u32, u32)> {
        let len = compiled.words.len() as u32;
        if self.tables.wants_grace() {
            self.end_grace()?;
        }
        let mut place = self.tables.take(len);
        if place.is_none() && self.tables.waits() {
            self.end_grace()?;
            place = self.tables.take(len);
        }
        let Some(place) = place else {
            let (free, piece) = self.tables.free();
            bail!(
                "the policy needs {len} words of table, {free} are free, {piece} in one piece, of {ARENA_WORDS}; \
                 hint: fewer different policies at once, or fewer and simpler globs"
            );
        };
        let (header, words) = compiled.place(place.start);
        for (i, word) in words.iter().enumerate() {
            self.arena.set(place.start as usize + i, *word);
        }
        self.policies.set(place.index as usize, PolicyHeader { generation: 0, ..header });
        self.control.set(0, Control { newest_policy: place.generation, ..self.control.get(0) });
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.policies.set(place.index as usize, PolicyHeader { generation: place.generation, ..header });
        Ok((place.index, place.generation))
    }

    /// The generation of the tables at `index`, if they are in use.
    #[must_use]
    pub fn generation_of(&self, index: u32) -> Option<u32> {
        let generation = if index < MAX_POLICIES { self.policies.get(index as usize).generation } else { 0 };
        (generation != 0).then_some(generation)
    }

    /// The header of the tables at `index`, if they are in use.
    #[must_use]
    pub fn header(&self, index: u32) -> Option<PolicyHeader> {
        self.generation_of(index).map(|_| self.policies.get(index as usize))
    }

    /// The words of all tables, as the kernel reads them.
    #[must_use]
    pub const fn words(&self) -> impl Words {
        Arena(&self.arena)
    }

    /// Notes one more user of a published version. False when it is gone.
    pub fn hold(&mut self, index: u32) -> bool {
        self.tables.hold(index)
    }

    /// Notes one user less. With the last one the version is vacant at once, which denies everything. True then.
    pub fn release(&mut self, index: u32) -> bool {
        let last = self.tables.release(index);
        if last {
            let header = self.policies.get(index as usize);
            self.policies.set(index as usize, PolicyHeader { generation: 0, ..header });
        }
        last
    }

    fn end_grace(&mut self) -> Result<()> {
        grace().context("waiting until no program reads old tables")?;
        self.tables.after_grace();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::trial::tests::compiled;
    use super::*;

    /// As root, at level `compat`.
    #[test]
    fn no_generation_is_given_out_twice_after_a_build_that_noted_none() {
        if !crate::launch::testing::is_root() {
            return;
        }
        let mut kernel = Kernel::unattached(Level::Compat, None).expect("loaded");
        let (_, before) = kernel.publish(&compiled()).expect("published");
        kernel.control.set(0, Control { newest_policy: 0, ..kernel.control.get(0) });
        kernel.adopt_tables(std::iter::empty());
        let (_, after) = kernel.publish(&compiled()).expect("published");
        assert!(after > before, "{after} came before");
    }
}
