//! A small reader of the kernel's BTF: where members of structs are.
//!
//! Format: <https://docs.kernel.org/bpf/btf.html>.

use std::collections::HashMap;

use agentguard_common::offsets::{ABSENT, Member, Offsets};
use anyhow::{Context as _, Result, bail, ensure};

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_FUNC: u32 = 12;
/// Number of offsets, which are all `u32`.
pub const OFFSET_COUNT: usize = size_of::<Offsets>() / 4;

/// Parsed BTF.
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    types: Vec<usize>,
}

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
        let mut btf = Self { data, strings: 0, types: vec![0] };
        ensure!(btf.u32(0)? & 0xffff == 0xeb9f, "bad magic");
        let header = btf.u32(4)? as usize;
        let start = header + btf.u32(8)? as usize;
        let end = start + btf.u32(12)? as usize;
        btf.strings = header + btf.u32(16)? as usize;
        let mut at = start;
        while at < end {
            btf.types.push(at);
            let info = btf.u32(at + 4)?;
            let (kind, len) = ((info >> 24) & 31, (info & 0xffff) as usize);
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    4 | 5 | 15 | 19 => 12 * len,
                    6 | 13 => 8 * len,
                    2 | 7..=12 | 16 | 18 => 0,
                    _ => bail!("unknown BTF kind {kind}"),
                };
        }
        Ok(btf)
    }

    fn u32(&self, at: usize) -> Result<u32> {
        let bytes = self.data.get(at..at + 4).context("truncated")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    }

    fn name(&self, offset: u32) -> Result<&[u8]> {
        let rest = self.data.get(self.strings + offset as usize..).context("string out of range")?;
        let len = rest.iter().position(|&b| b == 0).context("unterminated string")?;
        Ok(&rest[..len])
    }

    fn type_at(&self, id: u32) -> Result<usize> {
        self.types.get(id as usize).copied().context("type out of range")
    }

    /// Resolves typedefs and qualifiers.
    fn plain(&self, mut id: u32) -> Result<u32> {
        for _ in 0..32 {
            let at = self.type_at(id)?;
            if !matches!((self.u32(at + 4)? >> 24) & 31, 8..=11 | 18) {
                return Ok(id);
            }
            id = self.u32(at + 8)?;
        }
        bail!("type chain too long")
    }

    /// Bit offset and type of a member, looking into anonymous members.
    fn member(&self, id: u32, name: &str, depth: u32) -> Result<Option<(u32, u32)>> {
        ensure!(depth < 16, "structs nested too deep");
        let at = self.type_at(id)?;
        let info = self.u32(at + 4)?;
        for i in 0..(info & 0xffff) as usize {
            let m = at + 12 + 12 * i;
            let (member, ty, mut offset) = (self.name(self.u32(m)?)?, self.u32(m + 4)?, self.u32(m + 8)?);
            if info >> 31 == 1 {
                offset &= 0x00ff_ffff;
            }
            if member == name.as_bytes() {
                return Ok(Some((offset, ty)));
            }
            if member.is_empty() {
                let inner = self.plain(ty)?;
                if matches!((self.u32(self.type_at(inner)? + 4)? >> 24) & 31, KIND_STRUCT | KIND_UNION)
                    && let Some((more, ty)) = self.member(inner, name, depth + 1)?
                {
                    return Ok(Some((offset + more, ty)));
                }
            }
        }
        Ok(None)
    }

    /// Structs by name; of several definitions the first counts, as for the kernel's own relocations.
    fn structs(&self) -> Result<HashMap<&[u8], u32>> {
        let mut structs = HashMap::new();
        for (id, &at) in self.types.iter().enumerate().skip(1) {
            let info = self.u32(at + 4)?;
            if (info >> 24) & 31 == KIND_STRUCT && info & 0xffff > 0 {
                structs.entry(self.name(self.u32(at)?)?).or_insert(id as u32);
            }
        }
        Ok(structs)
    }

    /// Byte offset of a member below the struct `id`, `None` if it does not exist.
    fn offset(&self, mut id: u32, path: &str) -> Result<Option<u32>> {
        let mut bits = 0;
        for part in path.split('.') {
            let Some((offset, ty)) = self.member(self.plain(id)?, part, 0)? else { return Ok(None) };
            bits += offset;
            id = ty;
        }
        Ok(Some(bits / 8))
    }

    /// Index of a parameter of a function, `None` if the function does not exist or has no such parameter.
    fn parameter(&self, function: &str, parameter: &str) -> Result<Option<u32>> {
        for &at in self.types.iter().skip(1) {
            let is_function = (self.u32(at + 4)? >> 24) & 31 == KIND_FUNC;
            if !is_function || self.name(self.u32(at)?)? != function.as_bytes() {
                continue;
            }
            let prototype = self.type_at(self.u32(at + 8)?)?;
            for i in 0..self.u32(prototype + 4)? & 0xffff {
                if self.name(self.u32(prototype + 12 + 8 * i as usize)?)? == parameter.as_bytes() {
                    return Ok(Some(i));
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
        let structs = self.structs()?;
        let mut offsets = [ABSENT; OFFSET_COUNT];
        for (slot, Member { strukt, path, required, .. }) in offsets.iter_mut().zip(Offsets::MEMBERS) {
            let found = match structs.get(strukt.as_bytes()) {
                Some(id) => self.offset(*id, path)?,
                None => self.parameter(strukt, path)?,
            };
            match found {
                Some(offset) => *slot = offset,
                None if *required => {
                    bail!("this kernel has no `{strukt}.{path}`, which AgentGuard must read")
                }
                None => {}
            }
        }
        Ok(offsets)
    }
}
