//! A kernel's type information.

#![no_main]

use agentguard::kernel::btf::Btf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(btf) = Btf::parse(input.to_vec()) {
        let _ = btf.offsets();
    }
});
