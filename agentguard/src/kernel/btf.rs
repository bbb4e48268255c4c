//! A small reader of the kernel's BTF: where members of structs are.
//!
//! Format: <https://docs.kernel.org/bpf/btf.html>.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use agentguard_common::offsets::{ABSENT, Member, Offsets, Presence};
use anyhow::{Context as _, Result, bail, ensure};

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const MEMBER_BYTES: usize = 12;
/// Anonymous structs inside one another.
const MAX_DEPTH: u32 = 16;
/// Typedefs and qualifiers in a row.
const MAX_CHAIN: u32 = 32;
/// Number of offsets, which are all `u32`.
pub const OFFSET_COUNT: usize = size_of::<Offsets>() / 4;

/// Parsed BTF.
pub struct Btf {
    data: Vec<u8>,
    strings: Range<usize>,
    /// Where each type is; entry 0 stands for void, which has no record.
    types: Vec<usize>,
}

/// A member: its bit offset in the outermost struct, and its type.
type Found = (u32, u32);

impl Btf {
    /// Reads the running kernel's BTF.
    ///
    /// # Errors
    /// When the kernel has none, or it is malformed.
    pub fn running() -> Result<Self> {
        let path = "/sys/kernel/btf/vmlinux";
        let data = std::fs::read(path)
            .with_context(|| format!("{path}: the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"))?;
        Self::parse(data).with_context(|| format!("{path}: malformed BTF"))
    }

    /// Parses a BTF blob.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(data: Vec<u8>) -> Result<Self> {
        let mut btf = Self { data, strings: 0..0, types: vec![0] };
        ensure!(btf.u32(0)? & 0xffff == 0xeb9f, "bad magic");
        let types = btf.section(8, "types")?;
        btf.strings = btf.section(16, "strings")?;
        let mut at = types.start;
        while at < types.end {
            btf.types.push(at);
            let (kind, len) = (btf.kind(at)?, btf.len(at)?);
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    KIND_STRUCT | KIND_UNION | 15 | 19 => MEMBER_BYTES * len,
                    6 | 13 => 8 * len,
                    2 | 7..=12 | 16 | 18 => 0,
                    _ => bail!("unknown BTF kind {kind}"),
                };
        }
        ensure!(at == types.end, "the last type is cut off");
        Ok(btf)
    }

    /// The section whose offset behind the header, and length, are at `field`.
    fn section(&self, field: usize, name: &str) -> Result<Range<usize>> {
        let start = self.u32(4)? as usize + self.u32(field)? as usize;
        let end = start + self.u32(field + 4)? as usize;
        ensure!(end <= self.data.len(), "the section of {name} is cut off");
        Ok(start..end)
    }

    fn u32(&self, at: usize) -> Result<u32> {
        let bytes = self.data.get(at..at + 4).context("truncated")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    }

    /// Whether the string at `offset` is `name`. Reads no further than `name` is long: many types may share one
    /// string that never ends.
    fn is_named(&self, offset: u32, name: &str) -> Result<bool> {
        let strings = &self.data[self.strings.clone()];
        let rest = strings.get(offset as usize..).context("string out of range")?;
        Ok(rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&0))
    }

    fn type_at(&self, id: u32) -> Result<usize> {
        ensure!(id != 0, "void where a type is needed");
        self.types.get(id as usize).copied().context("type out of range")
    }

    /// Kind of the type record at `at`.
    fn kind(&self, at: usize) -> Result<u32> {
        Ok((self.u32(at + 4)? >> 24) & 31)
    }

    /// Entries of the type record at `at`.
    fn len(&self, at: usize) -> Result<usize> {
        Ok((self.u32(at + 4)? & 0xffff) as usize)
    }

    /// Resolves typedefs and qualifiers.
    fn plain(&self, mut id: u32) -> Result<u32> {
        for _ in 0..MAX_CHAIN {
            let at = self.type_at(id)?;
            if !matches!(self.kind(at)?, 8..=11 | 18) {
                return Ok(id);
            }
            id = self.u32(at + 8)?;
        }
        bail!("type chain too long")
    }

    /// A member of the struct or union `id`, also in anonymous members. `searched` holds the anonymous types that
    /// were searched in vain: each is searched once, however often it is nested.
    fn member(&self, id: u32, name: &str, depth: u32, searched: &mut HashSet<u32>) -> Result<Option<Found>> {
        ensure!(depth < MAX_DEPTH, "structs nested too deep");
        let at = self.type_at(id)?;
        if !matches!(self.kind(at)?, KIND_STRUCT | KIND_UNION) {
            return Ok(None);
        }
        let bitfields = self.u32(at + 4)? >> 31 == 1;
        for i in 0..self.len(at)? {
            let entry = at + 12 + MEMBER_BYTES * i;
            let (named, ty, mut offset) = (self.u32(entry)?, self.u32(entry + 4)?, self.u32(entry + 8)?);
            if bitfields {
                offset &= 0x00ff_ffff; // the upper byte is the width
            }
            if self.is_named(named, name)? {
                return Ok(Some((offset, ty)));
            }
            if !self.is_named(named, "")? {
                continue;
            }
            let inner = self.plain(ty)?;
            if searched.insert(inner)
                && let Some((more, ty)) = self.member(inner, name, depth + 1, searched)?
            {
                return Ok(Some((sum(offset, more)?, ty)));
            }
        }
        Ok(None)
    }

    /// The wanted structs; of several definitions the first counts, as for the kernel's own relocations.
    fn structs<'n>(&self, wanted: &HashSet<&'n str>) -> Result<HashMap<&'n str, u32>> {
        let mut found = HashMap::new();
        for (id, &at) in (0..).zip(&self.types).skip(1) {
            if self.kind(at)? != KIND_STRUCT || self.len(at)? == 0 {
                continue;
            }
            let name = self.u32(at)?;
            for strukt in wanted {
                if !found.contains_key(strukt) && self.is_named(name, strukt)? {
                    found.insert(*strukt, id);
                }
            }
        }
        Ok(found)
    }

    /// Byte offset of a member below the struct `id`, `None` if it does not exist.
    fn offset(&self, mut id: u32, path: &str) -> Result<Option<u32>> {
        let mut bits = 0;
        for part in path.split('.') {
            let found = self.member(self.plain(id)?, part, 0, &mut HashSet::new())?;
            let Some((offset, ty)) = found else { return Ok(None) };
            bits = sum(bits, offset)?;
            id = ty;
        }
        Ok(Some(bits / 8))
    }

    /// Index of a parameter of a function, `None` if the function does not exist or has no such parameter.
    fn parameter(&self, function: &str, parameter: &str) -> Result<Option<u32>> {
        for &at in self.types.iter().skip(1) {
            if self.kind(at)? != KIND_FUNC || !self.is_named(self.u32(at)?, function)? {
                continue;
            }
            let prototype = self.type_at(self.u32(at + 8)?)?;
            ensure!(self.kind(prototype)? == KIND_FUNC_PROTO, "a function without a prototype");
            for i in 0..self.len(prototype)? {
                if self.is_named(self.u32(prototype + 12 + 8 * i)?, parameter)? {
                    return Ok(Some(i as u32));
                }
            }
        }
        Ok(None)
    }

    /// All offsets that the programs need.
    ///
    /// # Errors
    /// Names a required member that this kernel does not have.
    pub fn offsets(&self) -> Result<[u32; OFFSET_COUNT]> {
        let structs = self.structs(&Offsets::MEMBERS.iter().map(|m| m.strukt).collect())?;
        let mut offsets = [ABSENT; OFFSET_COUNT];
        for (slot, Member { strukt, path, presence, .. }) in offsets.iter_mut().zip(Offsets::MEMBERS) {
            let found = match structs.get(strukt) {
                Some(id) => self.offset(*id, path),
                None => self.parameter(strukt, path),
            };
            match found.with_context(|| format!("`{strukt}.{path}`"))? {
                Some(offset) => *slot = offset,
                None if *presence == Presence::Required => {
                    bail!("this kernel has no `{strukt}.{path}`, which AgentGuard must read")
                }
                None => {}
            }
        }
        Ok(offsets)
    }
}

fn sum(bits: u32, more: u32) -> Result<u32> {
    bits.checked_add(more).context("offset of a member out of range")
}

#[cfg(test)]
mod tests;
