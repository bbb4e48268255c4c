//! Tracepoints that the kernel did not run our programs for.
//!
//! Where a tracepoint program can be preempted (7.3), another task on the same processor may come to the same tracepoint
//! meanwhile. The kernel takes that for the program interrupting itself, skips it, and counts a miss.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};

use super::Kernel;
use super::programs::TRACEPOINTS;

impl Kernel {
    /// What went wrong in the kernel, by name: the programs' own counters, and what the kernel counts of them.
    ///
    /// # Errors
    /// When either can't be read.
    pub fn failures(&self) -> Result<BTreeMap<String, u64>> {
        let counters = self.counters()?.into_iter().map(|(name, count)| (name.to_owned(), count));
        Ok(counters.chain([("tracepoint_missed".to_owned(), self.tracepoint_misses()?)]).collect())
    }

    /// How often the programs of forks and exits were skipped since they were loaded.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn tracepoint_misses(&self) -> Result<u64> {
        let mut sum = 0;
        for (name, _) in TRACEPOINTS {
            let information = || format!("information on {name}");
            sum += match &self.pins {
                Some(pins) => {
                    let program = pins.program(name).with_context(information)?; // perhaps of an earlier daemon
                    misses(program.as_fd())
                }
                None => {
                    let program = self.ebpf.program(name).with_context(|| format!("program {name}"))?;
                    misses(program.fd()?.as_fd())
                }
            }
            .with_context(information)?;
        }
        Ok(sum)
    }
}

/// `recursion_misses` of `BPF_OBJ_GET_INFO_BY_FD`, which aya does not show.
fn misses(program: BorrowedFd<'_>) -> std::io::Result<u64> {
    // SAFETY: both are plain data for which all zeros is the empty request.
    let (mut info, mut attr): (bpf_prog_info, bpf_attr) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    attr.info.bpf_fd = program.as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    let command = bpf_cmd::BPF_OBJ_GET_INFO_BY_FD as u32;
    // SAFETY: the attribute and the information it points to, whose size it says, live across the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<bpf_attr>()) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(info.recursion_misses) }
}
