//! The kernel plane: hooks translate kernel objects into facts, the shared core decides, events are emitted.
//!
//! One source for both enforcement levels; the loader attaches what the level has. Reading order: `subject`, `kread`,
//! `hooks/file`, `emit`.
#![no_std]
#![no_main]
#![expect(unreachable_pub, reason = "program entry points are found by section, not by path")]
#![expect(internal_features, reason = "read-modify-write atomics, see atomic.rs")]
#![feature(core_intrinsics, adt_const_params, asm_experimental_arch)]

mod atomic;
mod cache;
mod emit;
mod hooks;
mod kread;
mod maps;
mod path;
mod scan;
mod subject;

/// The verifier rejects a reachable endless loop, so a program with a reachable panic does not load.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
