//! Programs that the host pays for, so they are attached only while somebody needs them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::programs::BtfTracePoint;

use super::programs::{Attached, Plan};
use super::{Kernel, Level};

/// Longest that the kernel may take to detach a program, on a host that is busy.
const DETACHED_WITHIN: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(1);

fn is_busy(e: &anyhow::Error) -> bool {
    let mut causes = e.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.kind() == std::io::ErrorKind::ResourceBusy)
}

/// What is attached at the moment.
#[derive(Default)]
pub(super) struct Armed {
    kill: bool,
    /// What is attached while an invocation lives, on this kernel. To find out takes a walk through all of its types for
    /// each, far too long for the start of a run.
    pub(super) live: Vec<Plan>,
    /// By program.
    open: Vec<(&'static str, Attached)>,
}

impl Kernel {
    /// Attaches or detaches the program that kills barred tasks at their next system call (level `compat`).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn arm_kill(&mut self, on: bool) -> Result<()> {
        if on == self.armed.kill || self.level == Level::Lsm {
            return Ok(());
        }
        let program: &mut BtfTracePoint =
            self.ebpf.program_mut("kill_barred").context("missing program")?.try_into()?;
        if on {
            program.load("sys_enter", &self.btf)?;
            program.attach()?;
        } else {
            program.unload()?;
        }
        self.armed.kill = on;
        Ok(())
    }

    /// Attaches or detaches the programs that refuse a barred task what it has open already (level `lsm`): every read
    /// and every receive of the host runs them. To be on before the first task is tagged, until no invocation has a
    /// task left. They are loaded from the start, so that nothing can be refused later but the attaching.
    ///
    /// # Errors
    /// When the kernel refuses. Some may be attached then; the next call goes on from there.
    pub fn arm_open_checks(&mut self, on: bool) -> Result<()> {
        if self.level != Level::Lsm {
            return Ok(());
        }
        for plan in self.armed.live.clone() {
            self.arm(plan, on)?;
        }
        Ok(())
    }

    /// Attaches or detaches one program, unless it is so already.
    pub(super) fn arm(&mut self, plan: Plan, on: bool) -> Result<()> {
        match &self.pins {
            Some(pins) if on == pins.has(plan.name) => Ok(()),
            Some(_) if on => self.place_again(plan),
            Some(pins) => pins.drop_link(plan.name),
            None => self.arm_unpinned(plan, on),
        }
    }

    /// Attaches a program that may have been attached before. The kernel detaches a little after the pin is gone (a grace
    /// period, and a worker), tells nobody, and until then takes the program for attached.
    fn place_again(&mut self, plan: Plan) -> Result<()> {
        let give_up = Instant::now() + DETACHED_WITHIN;
        loop {
            match self.place(plan) {
                Err(e) if is_busy(&e) && Instant::now() < give_up => std::thread::sleep(AGAIN),
                other => return other,
            }
        }
    }

    fn arm_unpinned(&mut self, plan: Plan, on: bool) -> Result<()> {
        let at = self.armed.open.iter().position(|(name, _)| *name == plan.name);
        match (on, at) {
            (true, None) => self.armed.open.push((plan.name, plan.attach(&mut self.ebpf)?)),
            (false, Some(at)) => {
                let (name, link) = self.armed.open.swap_remove(at);
                drop(link.held(&mut self.ebpf).with_context(|| format!("detaching {name}"))?);
            }
            _ => {}
        }
        Ok(())
    }
}
