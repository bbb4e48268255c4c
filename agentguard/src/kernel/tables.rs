//! Room for compiled policies: who uses which part of the arena, and when it may be used again.
//!
//! A hook reads the tables of the version that it found when it began. What a version used is therefore given to another
//! only after every program that may have found it has ended.

use std::collections::{BTreeMap, HashMap};

use agentguard_common::policy::{ARENA_WORDS, MAX_POLICIES, PolicyHeader};

/// Words at the front that no table begins with: position 0 means "none".
const RESERVED: u32 = 16;
/// Versions that wait for the end of a grace period before one is asked for.
const WAITING: usize = 64;

/// Part of the arena: first word and number of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    start: u32,
    len: u32,
}

/// A compiled version in use.
#[derive(Debug)]
struct Version {
    extent: Extent,
    users: u32,
}

/// Which words and entries are in use.
#[derive(Debug)]
pub(super) struct Tables {
    /// Free words: start and length, never two that touch.
    holes: BTreeMap<u32, u32>,
    versions: HashMap<u32, Version>,
    /// No longer in use, but perhaps still read.
    retired: Vec<(u32, Extent)>,
    free_entries: Vec<u32>,
    generation: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            holes: BTreeMap::from([(RESERVED, ARENA_WORDS - RESERVED)]),
            versions: HashMap::new(),
            retired: Vec::new(),
            free_entries: (1..MAX_POLICIES).rev().collect(),
            generation: 0,
        }
    }
}

/// Where a new version goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) index: u32,
    pub(super) start: u32,
    pub(super) generation: u32,
}

/// The words of a header: the classes are the first of its tables, `lead` words from the start.
const fn extent(header: &PolicyHeader, lead: u32) -> Extent {
    Extent { start: header.classes - lead, len: header.words }
}

impl Tables {
    /// Takes over versions that are in the kernel already: index, header and number of users of each. `lead` is how many
    /// words a version has before its first table.
    pub(super) fn adopted(in_use: &[(u32, PolicyHeader, u32)], lead: u32, generation: u32) -> Self {
        let mut tables = Self { generation, ..Self::default() };
        for (index, header, users) in in_use {
            let extent = extent(header, lead);
            tables.carve(extent);
            tables.versions.insert(*index, Version { extent, users: *users });
        }
        tables.free_entries.retain(|index| !tables.versions.contains_key(index));
        tables
    }

    /// Takes `extent` out of the hole that it lies in.
    fn carve(&mut self, extent: Extent) {
        let Some((&start, &len)) = self.holes.range(..=extent.start).next_back() else { return };
        let (end, hole_end) = (extent.start + extent.len, start + len);
        if hole_end < end {
            return; // not all free: only a header that no daemon wrote says so
        }
        self.holes.remove(&start);
        if start < extent.start {
            self.holes.insert(start, extent.start - start);
        }
        if end < hole_end {
            self.holes.insert(end, hole_end - end);
        }
    }

    /// Room for `len` words and one entry, with one user. `None` when there is none.
    pub(super) fn take(&mut self, len: u32) -> Option<Place> {
        let start = self.holes.iter().find(|(_, hole)| **hole >= len).map(|(start, _)| *start)?;
        let index = self.free_entries.pop()?;
        let extent = Extent { start, len };
        self.carve(extent);
        self.versions.insert(index, Version { extent, users: 1 });
        self.generation = self.generation.wrapping_add(1).max(1); // 0 is vacant
        Some(Place { index, start, generation: self.generation })
    }

    /// One more user of a version. False when it is not in use.
    pub(super) fn hold(&mut self, index: u32) -> bool {
        self.versions.get_mut(&index).map(|v| v.users += 1).is_some()
    }

    /// One user less. True when it was the last: the entry is to be made vacant, now.
    pub(super) fn release(&mut self, index: u32) -> bool {
        let Some(version) = self.versions.get_mut(&index) else { return false };
        version.users -= 1;
        if version.users > 0 {
            return false;
        }
        let extent = version.extent;
        self.versions.remove(&index);
        self.retired.push((index, extent));
        true
    }

    /// Whether enough waits for a grace period to be worth one.
    pub(super) const fn wants_grace(&self) -> bool {
        self.retired.len() >= WAITING
    }

    /// Whether anything waits.
    pub(super) const fn waits(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Every program that ran when the last version was retired has ended.
    pub(super) fn after_grace(&mut self) {
        for (index, extent) in std::mem::take(&mut self.retired) {
            self.free_entries.push(index);
            self.give_back(extent);
        }
    }

    fn give_back(&mut self, mut extent: Extent) {
        if let Some((&start, &len)) = self.holes.range(..extent.start).next_back()
            && start + len == extent.start
        {
            self.holes.remove(&start);
            extent = Extent { start, len: len + extent.len };
        }
        if let Some(len) = self.holes.remove(&(extent.start + extent.len)) {
            extent.len += len;
        }
        self.holes.insert(extent.start, extent.len);
    }

    /// Words that are free, together and in the largest piece.
    pub(super) fn free(&self) -> (u32, u32) {
        (self.holes.values().sum(), self.holes.values().copied().max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_only_after_a_grace_period() {
        let mut tables = Tables::default();
        let all = tables.free();
        let a = tables.take(100).expect("room");
        let b = tables.take(50).expect("room");
        assert!(a.start + 100 <= b.start && a.index != b.index && a.generation != b.generation);
        assert!(tables.hold(a.index) && !tables.release(a.index) && tables.release(a.index));
        let c = tables.take(100).expect("room");
        assert_ne!((c.start, c.index), (a.start, a.index), "still read");
        tables.after_grace();
        assert_eq!(tables.take(100).expect("room").start, a.start);
        assert!(tables.release(b.index) && tables.release(c.index));
        tables.after_grace();
        assert_eq!(tables.free().0, all.0 - 100);
    }

    #[test]
    fn holes_that_touch_become_one() {
        let mut tables = Tables::default();
        let all = tables.free();
        let taken: Vec<_> = (0..5).map(|_| tables.take(10).expect("room").index).collect();
        for at in [1, 3, 2, 0, 4] {
            assert!(tables.release(taken[at]));
        }
        tables.after_grace();
        assert_eq!(tables.free(), all);
    }

    #[test]
    fn what_is_in_the_kernel_stays_where_it_is() {
        let header = PolicyHeader { classes: 116, words: 100, ..PolicyHeader::default() };
        let mut tables = Tables::adopted(&[(7, header, 2)], 16, 9);
        assert_eq!(tables.free().0, ARENA_WORDS - RESERVED - 100);
        let place = tables.take(80).expect("room");
        assert!(place.start < 100 && place.index != 7 && place.generation == 10);
        assert_eq!(tables.take(20).expect("room").start, 200);
        assert!(!tables.release(7) && tables.release(7));
    }

    #[test]
    fn a_full_arena_says_so() {
        let mut tables = Tables::default();
        assert!(tables.take(ARENA_WORDS).is_none());
        for _ in 1..MAX_POLICIES {
            assert!(tables.take(1).is_some());
        }
        assert!(tables.take(1).is_none());
    }
}
