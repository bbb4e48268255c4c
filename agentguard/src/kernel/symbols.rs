//! Addresses of the running kernel's data, and what instructions say of its functions and structs.

use agentguard_common::offsets::{
    ABSENT, CAST_CALL, Member, Offsets, Presence, Sequences, Types, marked, with_offset,
};
use anyhow::{Context as _, Result};
use aya::Btf;
use aya_obj::btf::BtfKind;

use super::btf::OFFSET_COUNT;

/// Upper half of an instruction: its constant.
const CONSTANT: u64 = 0xffff_ffff << 32;

/// What of the running kernel shortens the way of programs. Whatever is not certain is zero, and they go the long way.
#[derive(Clone, Copy, Default)]
pub(super) struct Shortcuts {
    /// BTF id of `bpf_rdonly_cast`.
    pub(super) cast: u32,
    /// The kernel's sequence locks of renames and mounts, for the cache of directories.
    pub(super) sequences: Sequences,
    /// For reading without a helper: a task's tag, and numbers at addresses.
    pub(super) types: Types,
}

impl Shortcuts {
    /// Of the running kernel, whose members are at `offsets`. The locks are left out unless the kernel shows exactly one
    /// address of each (`kptr_restrict`, no `CONFIG_KALLSYMS_ALL`).
    pub(super) fn of(btf: &Btf, offsets: &[u32; OFFSET_COUNT]) -> Self {
        let id = |name, kind| btf.id_by_type_name_kind(name, kind).unwrap_or(0);
        let cast = id("bpf_rdonly_cast", BtfKind::Func);
        let strukt = |name| if cast == 0 { 0 } else { u64::from(id(name, BtfKind::Struct)) };
        let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let sequences = match addresses(&symbols, ["rename_lock", "mount_lock"]) {
            [0, _] | [_, 0] => Sequences::default(),
            [renames, mounts] => Sequences { renames, mounts, kind: strukt("seqcount") },
        };
        let types = Types { word: strukt("timespec64"), storage: strukt("bpf_local_storage") };
        let missing = |(member, at): (&Member, &u32)| member.presence == Presence::Typed && *at == ABSENT;
        let whole = !Offsets::MEMBERS.iter().zip(offsets).any(missing);
        let known = whole && types.word != 0 && types.storage != 0;
        Self { cast, sequences, types: if known { types } else { Types::default() } }
    }
}

/// The object with its loads at the `offsets` of members, and the calls of `bpf_rdonly_cast` going to the function with
/// this BTF id. Of 0 the kernel says that it may only stand where no program comes; as loads of absent members, whose offset
/// is then 0.
///
/// # Errors
/// Names a member that is too far into its struct for a load.
pub(super) fn linked(object: &[u8], cast: u32, offsets: &[u32; OFFSET_COUNT]) -> Result<Vec<u64>> {
    let words = object.chunks(8).map(|bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    });
    let call = CAST_CALL & !CONSTANT | u64::from(cast) << 32;
    words
        .map(|word| match marked(word) {
            Some(index) if offsets[index] == ABSENT => Ok(with_offset(word, 0).unwrap_or(word)),
            Some(index) => with_offset(word, offsets[index]).with_context(|| {
                let Member { strukt, path, .. } = &Offsets::MEMBERS[index];
                format!("`{strukt}.{path}` is too far into its struct, at byte {}", offsets[index])
            }),
            None => Ok(if word == CAST_CALL { call } else { word }),
        })
        .collect()
}

/// The addresses of the kernel's own symbols with these names; 0 for none, a hidden one, or several.
fn addresses<const N: usize>(symbols: &str, names: [&str; N]) -> [u64; N] {
    let mut found = [const { Vec::new() }; N];
    for line in symbols.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(_), Some(name), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue; // a fourth word names a module
        };
        if let Some(i) = names.iter().position(|wanted| *wanted == name) {
            found[i].push(u64::from_str_radix(address, 16).unwrap_or(0));
        }
    }
    found.map(|all| if let [one] = all[..] { one } else { 0 })
}

#[cfg(test)]
mod tests {
    use agentguard_common::offsets::mark;

    use super::super::OBJECT;
    use super::*;

    #[test]
    fn only_what_is_certain_counts() {
        let symbols = "ffffffff81000000 D one\nffffffffc0000000 d one\t[module]\n0000000000000000 D hidden\n\
                       ffffffff81000008 d two\nffffffff81000010 d two\n";
        let none = addresses(symbols, ["hidden", "two", "missing"]);
        assert_eq!((addresses(symbols, ["one"]), none), ([0xffff_ffff_8100_0000], [0, 0, 0]));
    }

    #[test]
    fn loads_get_the_offsets_of_members() {
        let load = |offset: i32| 0x2179 | (offset as u64) << 16; // r1 = *(u64 *)(r2 + offset)
        let object = [load(mark(1)), load(8), 0x2161 | 1 << 32].map(u64::to_ne_bytes).concat();
        let mut offsets = [7; OFFSET_COUNT];
        offsets[1] = 5784;
        assert_eq!(linked(&object, 0, &offsets).expect("in reach"), [load(5784), load(8), 0x2161 | 1 << 32]);
        offsets[1] = ABSENT;
        let linked_to = linked(&object, 0, &offsets).expect("no program comes here");
        assert_eq!(linked_to, [load(0), load(8), 0x2161 | 1 << 32]);
        offsets[1] = 0x7e00;
        let error = linked(&object, 0, &offsets).expect_err("out of reach").to_string();
        let Member { strukt, path, .. } = &Offsets::MEMBERS[1];
        assert!(error.contains(&format!("`{strukt}.{path}`")), "{error}");
    }

    #[test]
    fn nothing_but_code_looks_like_a_load_of_a_member() {
        if OBJECT.is_empty() {
            return; // built without the programs
        }
        let in_file = OBJECT.as_chunks::<8>().0.iter().filter(|w| marked(u64::from_ne_bytes(**w)).is_some());
        let parsed = aya_obj::Object::parse(OBJECT).expect("an object");
        let code = parsed.functions.values().flat_map(|function| &function.instructions);
        let in_code = code.filter(|i| {
            let word = u64::from(i.code) | u64::from(i.off as u16) << 16 | u64::from(i.imm as u32) << 32;
            marked(word).is_some()
        });
        let (in_file, in_code) = (in_file.count(), in_code.count());
        assert!(in_file == in_code && in_code > 0, "{in_file} in the file, {in_code} in code");
    }
}
