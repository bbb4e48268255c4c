//! Which text can be written as it is. Nearly all is such, and it is looked at eight bytes at a time.

const WORD: usize = size_of::<u64>();

/// `byte` in every byte of a word.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; WORD])
}

/// Whether all eight are printable ASCII and no quotation mark or backslash.
const fn is_plain_word(word: u64) -> bool {
    const HIGH: u64 = each(0x80);
    let (quote, backslash, delete) = (word ^ each(b'"'), word ^ each(b'\\'), word ^ each(0x7f));
    // Where no byte is above 127, one that is less than what is taken from all of them sets its highest bit, and so may the ones
    // above it, but only then.
    let less = word.wrapping_sub(each(b' '))
        | quote.wrapping_sub(each(1))
        | backslash.wrapping_sub(each(1))
        | delete.wrapping_sub(each(1));
    (word | less) & HIGH == 0
}

/// Whether all of `bytes` are printable ASCII, and none a quotation mark or a backslash: neither people nor JSON need
/// anything of it escaped.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<WORD>() {
        let (words, _) = bytes.as_chunks::<WORD>();
        return words.iter().chain([last]).all(|word| is_plain_word(u64::from_ne_bytes(*word)));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let word = u64::from(u32::from_ne_bytes(*first)) << 32 | u64::from(u32::from_ne_bytes(*last));
        return is_plain_word(word);
    }
    bytes.iter().all(|byte| is_plain_word(each(b' ') & !0xff | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn every_byte_counts_wherever_it_is() {
        assert!(is_plain(b""));
        for len in 1..40 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; len];
                    bytes[at] = byte;
                    let plain = (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&bytes), plain, "{byte:#x} at {at} of {len}");
                }
            }
        }
    }
}
