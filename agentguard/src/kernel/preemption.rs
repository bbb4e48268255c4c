//! Whether programs run to their end, by trying, where a level depends on it.
//!
//! Level `compat`: the tag is inherited at a tracepoint. A kernel that lets other tasks run while its program does skips it
//! for a fork of theirs, and that child would have no identity.
//!
//! Level `lsm`, kernels before 6.2: `bpf_task_storage_get` answers "none" while another task of the same processor is in it
//! (`bpf_task_storage_trylock`). Where that task can be interrupted there, as with `preempt=full` or real-time kernels, a
//! tagged task would look untagged for a moment. Later kernels look the tag up without that lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agentguard_common::preemption::{Trial, outcome};
use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::Program;
use aya::{Btf, Ebpf};
use aya_obj::btf::BtfKind;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::mapped::Mapped;
use super::programs::{Plan, When};
use super::{Level, map_fd};

/// How often the other thread wants the processor.
const INTERVAL: Duration = Duration::from_micros(200);

/// What the trial is made in, and what is lost where it is interrupted; `None` where the level does not depend on it.
fn doubt(level: Level, btf: &Btf) -> Option<(Plan, &'static str)> {
    let plan = |name, place| Plan { name, place, attached: When::Used };
    match level {
        Level::Compat => Some((
            plan("preemption_trial", "sched_process_fork"),
            "this kernel lets other tasks run while a tracepoint program does (it was tried at sched_process_fork) and \
             skips the program for their forks: a child could be made without its identity, which level compat \
             cannot prevent; hint: level lsm does not depend on it (boot with `bpf` in lsm=)",
        )),
        Level::Lsm if storage_can_be_busy(btf) => Some((
            plan("lsm_preemption_trial", "task_alloc"),
            "this kernel lets other tasks run while a kernel program does (it was tried at task_alloc), and before 6.2 \
             it does not find the identity of a task while another of the same processor is being looked at: for a \
             moment an agent would not be one; hint: boot with preempt=voluntary, or a kernel from 6.2 on",
        )),
        Level::Lsm => None,
    }
}

/// Whether a lookup of task storage fails while another is under way: there is the counter, and not yet the second helper
/// (6.2) that took the lookups out of it. Kernels from 7.1 on have neither.
fn storage_can_be_busy(btf: &Btf) -> bool {
    let has = |name, kind| btf.id_by_type_name_kind(name, kind).is_ok();
    has("bpf_task_storage_busy", BtfKind::Var) && !has("bpf_task_storage_get_recur", BtfKind::Func)
}

/// Refuses a kernel that lets other tasks run while a program does, where `level` depends on that it does not.
///
/// # Errors
/// When it does, or when it can't be found out.
pub(super) fn refuse(level: Level, ebpf: &mut Ebpf, btf: &Btf) -> Result<()> {
    let Some((plan, lost)) = doubt(level, btf) else { return Ok(()) };
    let trial = Mapped::new(map_fd(ebpf.map("TRIAL").context("map TRIAL")?)?, 1)?;
    plan.load(ebpf, btf)?;
    let link = plan.attach(ebpf)?;
    let found = attempt(&trial);
    drop(link.held(ebpf)?); // detaches it
    match plan.program(ebpf)? {
        Program::BtfTracePoint(program) => program.unload()?,
        Program::Lsm(program) => program.unload()?,
        _ => {}
    }
    match found? {
        outcome::WHOLE => Ok(()),
        outcome::INTERRUPTED => bail!("{lost}"),
        _ => bail!("whether kernel programs can be preempted was not found out: the trial did not run"),
    }
}

/// Forks in a thread that the program waits in, beside a thread of the same processor that comes first if anything can.
fn attempt(trial: &Mapped<Trial>) -> Result<u64> {
    let cpu = nix::sched::sched_getcpu().context("sched_getcpu")?;
    let name = format!("ag-{:012x}", crate::clock::boot_ns() & 0xffff_ffff_ffff);
    trial.set(0, Trial { name: comm(&name), ..Trial::default() });
    let entry = trial.at(0);
    // SAFETY: fields of a mapping that outlives the threads below, aligned for u64, changed by atomic stores only.
    let (waits, seen) = unsafe {
        (AtomicU64::from_ptr(&raw mut (*entry).waits), AtomicU64::from_ptr(&raw mut (*entry).seen))
    };
    let (ready, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let forked = std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(e) = pin(cpu).and_then(|()| come_first()) {
                // An ordinary thread that slept is let in at a tick at the latest, and the program waits for several.
                tracing::warn!("trial of preemption: {e:#}; it is made at ordinary priority");
            }
            ready.store(true, Ordering::Release);
            while !over.load(Ordering::Acquire) {
                if waits.load(Ordering::SeqCst) == 1 {
                    seen.store(1, Ordering::SeqCst); // it runs although the program has not ended
                }
                std::thread::sleep(INTERVAL);
            }
        });
        let fork = move || -> Result<()> {
            pin(cpu)?;
            // A thread is a fork too, as far as the tracepoint is concerned.
            std::thread::spawn(|| ()).join().map_err(|_| anyhow!("the new thread panicked"))
        };
        while !ready.load(Ordering::Acquire) {
            std::thread::sleep(INTERVAL);
        }
        let forked = std::thread::Builder::new().name(name).spawn_scoped(scope, fork);
        let forked = forked
            .context("starting a thread")
            .and_then(|thread| thread.join().map_err(|_| anyhow!("the forking thread panicked"))?);
        over.store(true, Ordering::Release);
        forked
    });
    forked.context("trial of preemption")?;
    Ok(trial.get(0).outcome)
}

/// The name of a thread as the kernel keeps it: 16 bytes, filled up with zeros.
fn comm(name: &str) -> [u64; 2] {
    let mut bytes = [0; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    let (first, second) = bytes.split_at(8);
    [first, second].map(|half| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("binding a thread to processor {cpu}"))
}

/// Makes the calling thread a real-time one.
fn come_first() -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters live across the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context("no real-time priority");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::comm;

    #[test]
    fn a_name_is_what_the_kernel_compares() {
        let bytes = comm("ag-0123456789ab").map(u64::to_le_bytes).concat();
        assert_eq!(bytes, b"ag-0123456789ab\0");
    }
}
