//! Programs that the host pays for, so they are attached only while somebody needs them.

use std::time::{Duration, Instant};

use agentguard_common::invocation::state;
use anyhow::{Context as _, Result};
use aya::programs::BtfTracePoint;

use super::programs::{Attached, Plan, When};
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
    /// What is attached at times, on this kernel. To find out takes a walk through all of its types for each, far too long
    /// for the start of a run.
    pub(super) plans: Vec<Plan>,
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

    /// Attaches the programs that the host pays for, but for packets at level `lsm`. To be on before the first task is
    /// tagged. They are loaded from the start, so that nothing can be refused later but the attaching.
    ///
    /// # Errors
    /// When the kernel refuses. Some may be attached then; the next call goes on from there.
    pub fn arm(&mut self) -> Result<()> {
        self.arm_all(When::Live, true)?;
        if self.level == Level::Compat { self.arm_packets() } else { Ok(()) }
    }

    /// Detaches what [`Self::arm`] attached, if no task has a tag: one may have it though no invocation lives, where the
    /// kernel did not trace its fork, or the daemon lost its state. What stops packets stays once there may be any to stop.
    /// Returns how many tasks have a tag.
    ///
    /// # Errors
    /// When the kernel refuses, or the tasks can't be looked at.
    pub fn disarm(&mut self) -> Result<usize> {
        // Twice, since one that is made meanwhile may be missing in the first.
        for _ in 0..2 {
            let tagged = self.census()?.len();
            if tagged > 0 {
                return Ok(tagged);
            }
        }
        self.arm_all(When::Live, false)?;
        if self.control.get(0).cut_from_ns == u64::MAX {
            self.arm_all(When::Cut, false)?;
        }
        Ok(0)
    }

    /// Attaches the programs that stop packets of whoever has lost its authority. To be on before anybody does; not to be
    /// detached, since sockets outlive their invocation.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn arm_packets(&mut self) -> Result<()> {
        self.arm_all(When::Cut, true)
    }

    /// Takes all authority from the identities in `slots`.
    ///
    /// # Errors
    /// When their packets can't be stopped. They are barred all the same.
    pub fn bar(&mut self, slots: &[u32]) -> Result<()> {
        let armed = if slots.is_empty() { Ok(()) } else { self.arm_packets() };
        for slot in slots {
            self.set_state(*slot, state::REVOKED);
        }
        armed.context("barred, but what their sockets have queued is still sent")
    }

    fn arm_all(&mut self, when: When, on: bool) -> Result<()> {
        let plans: Vec<_> = self.armed.plans.iter().filter(|plan| plan.attached == when).copied().collect();
        plans.into_iter().try_for_each(|plan| self.arm_one(plan, on))
    }

    /// Attaches or detaches one program, unless it is so already.
    pub(super) fn arm_one(&mut self, plan: Plan, on: bool) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As root, at level `compat`.
    #[test]
    fn packets_are_stopped_on_after_the_last_task_is_gone() {
        if !crate::launch::testing::is_root() {
            return;
        }
        let mut kernel = Kernel::load(Level::Compat, None).expect("level compat");
        let attached = |kernel: &Kernel| {
            ["cgroup_egress", "cgroup_ingress"].map(|name| kernel.armed.open.iter().any(|(n, _)| *n == name))
        };
        assert_eq!(attached(&kernel), [true; 2], "there when the first task is tagged");
        assert_eq!(kernel.disarm().expect("disarmed"), 0);
        assert_eq!(attached(&kernel), [false; 2], "an idle host pays nothing");
        kernel.arm().expect("armed");
        kernel.bar(&[1]).expect("barred");
        assert_eq!(kernel.disarm().expect("disarmed"), 0);
        assert_eq!(attached(&kernel), [true; 2], "a socket of the barred one may live on in other hands");
    }
}
