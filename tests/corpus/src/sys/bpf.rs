//! `bpf(2)`, as far as attacks need it.

use super::call;
use crate::{Step as _, Stop};

const MAP_CREATE: usize = 0;
const PROG_LOAD: usize = 5;
/// The commands that find the next id of a kind, and that open an object by it.
pub const PROGRAMS: [usize; 2] = [11, 13];
pub const MAPS: [usize; 2] = [12, 14];
pub const LINKS: [usize; 2] = [31, 30];

/// `union bpf_attr`, as far as used.
type Attributes = [u32; 32];

fn bpf(command: usize, attributes: &mut Attributes) -> Result<i64, Stop> {
    let arguments = [command, attributes.as_mut_ptr().addr(), size_of::<Attributes>(), 0, 0, 0];
    // SAFETY: the attributes live across the call, with what they point to.
    unsafe { call(libc::SYS_bpf, arguments) }
}

/// Makes an array map.
///
/// # Errors
/// When the kernel refuses.
pub fn make_map() -> Result<(), Stop> {
    let mut attributes = [0; 32];
    attributes[..4].copy_from_slice(&[2, 4, 4, 1]); // array, sizes of key and value, entries
    bpf(MAP_CREATE, &mut attributes).step("making a map").map(drop)
}

/// Loads a program that may look at everything: a tracepoint's.
///
/// # Errors
/// When the kernel refuses.
pub fn load_program() -> Result<(), Stop> {
    let code: [u64; 2] = [0xb7, 0x95]; // r0 = 0; exit
    let halves = |address: usize| [address as u32, (address as u64 >> 32) as u32];
    let mut attributes = [0; 32];
    attributes[..2].copy_from_slice(&[5, 2]); // tracepoint, instructions
    attributes[2..4].copy_from_slice(&halves(code.as_ptr().addr()));
    attributes[4..6].copy_from_slice(&halves(c"GPL".as_ptr().addr()));
    bpf(PROG_LOAD, &mut attributes).step("loading a program").map(drop)
}

/// Opens the first object of a kind, whose ever it is.
///
/// # Errors
/// When the kernel refuses.
pub fn open_first([next, open]: [usize; 2]) -> Result<(), Stop> {
    let mut attributes = [0; 32];
    bpf(next, &mut attributes).step("asking for an id")?;
    attributes.swap(0, 1); // the answer is the second field, the id to open the first
    bpf(open, &mut attributes).step("opening it").map(drop)
}
