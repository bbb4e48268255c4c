//! Addresses of the running kernel's data, and its functions that programs may call.

use agentguard_common::offsets::{CAST_CALL, Sequences};
use aya::Btf;
use aya_obj::btf::BtfKind;

/// Upper half of an instruction: its constant.
const CONSTANT: u64 = 0xffff_ffff << 32;

/// The BTF id of `bpf_rdonly_cast`, 0 if the kernel has none, and the kernel's sequence locks of renames and mounts: zero,
/// which leaves the cache of directories off, unless the kernel shows exactly one address of each (`kptr_restrict`, no
/// `CONFIG_KALLSYMS_ALL`).
pub(super) fn sequences(btf: &Btf) -> (u32, Sequences) {
    let id = |name, kind| btf.id_by_type_name_kind(name, kind).unwrap_or(0);
    let (cast, kind) = (id("bpf_rdonly_cast", BtfKind::Func), id("seqcount", BtfKind::Struct));
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let [renames, mounts] = addresses(&symbols, ["rename_lock", "mount_lock"]);
    if renames == 0 || mounts == 0 {
        return (cast, Sequences::default());
    }
    (cast, Sequences { renames, mounts, kind: if cast == 0 { 0 } else { u64::from(kind) } })
}

/// The object with the calls of `bpf_rdonly_cast` going to the function with this BTF id. Of 0 the kernel says that it may
/// only stand where no program comes.
pub(super) fn with_cast(object: &[u8], id: u32) -> Vec<u64> {
    let words = object.chunks(8).map(|bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    });
    let call = CAST_CALL & !CONSTANT | u64::from(id) << 32;
    words.map(|word| if word == CAST_CALL { call } else { word }).collect()
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
    use super::addresses;

    #[test]
    fn only_what_is_certain_counts() {
        let symbols = "ffffffff81000000 D one\nffffffffc0000000 d one\t[module]\n0000000000000000 D hidden\n\
                       ffffffff81000008 d two\nffffffff81000010 d two\n";
        let none = addresses(symbols, ["hidden", "two", "missing"]);
        assert_eq!((addresses(symbols, ["one"]), none), ([0xffff_ffff_8100_0000], [0, 0, 0]));
    }
}
