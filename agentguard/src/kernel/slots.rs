//! Slots of invocations: one store each for what the kernel reads at every request.

use agentguard_common::invocation::{Control, Invocation};

use super::Kernel;

impl Kernel {
    /// Switches an invocation to another version: one store, between two of its requests.
    pub fn set_policy(&self, slot: u32, index: u32) {
        let entry = self.invocations.at(slot as usize);
        // SAFETY: a field of a live mapping.
        unsafe { (&raw mut (*entry).policy).write_volatile(index) };
    }

    /// Sets flags of an invocation.
    pub fn add_flags(&self, slot: u32, flags: u32) {
        let entry = self.invocations.at(slot as usize);
        // SAFETY: a field of a live mapping, aligned for u32, which the kernel only reads.
        let word = unsafe { std::sync::atomic::AtomicU32::from_ptr(&raw mut (*entry).flags) };
        word.fetch_or(flags, std::sync::atomic::Ordering::SeqCst);
    }

    /// Sets the end of life of an invocation.
    pub fn set_expiry(&self, slot: u32, expires_ns: u64) {
        let entry = self.invocations.at(slot as usize);
        // SAFETY: a field of a live mapping, aligned: one store.
        unsafe { (&raw mut (*entry).expires_ns).write_volatile(expires_ns) };
        self.recheck_from(expires_ns);
    }

    /// Fills a slot.
    pub fn start(&self, slot: u32, invocation: Invocation) {
        self.invocations.set(slot as usize, invocation);
        self.recheck_from(invocation.expires_ns);
    }

    /// The slot as the kernel sees it now.
    #[must_use]
    pub fn invocation(&self, slot: u32) -> Invocation {
        self.invocations.get(slot as usize)
    }

    /// Stores the state of a slot: the store that revokes.
    pub fn set_state(&self, slot: u32, state: u32) {
        let entry = self.invocations.at(slot as usize);
        // SAFETY: a field of a live mapping.
        unsafe { (&raw mut (*entry).state).write_volatile(state) };
        // An invocation that ended by itself has nothing to cut.
        if state != agentguard_common::invocation::state::ENDED {
            self.recheck_from(0);
        }
    }

    fn recheck_from(&self, ns: u64) {
        let now = self.control.get(0);
        let (recheck_from_ns, cut_from_ns) = (now.recheck_from_ns.min(ns), now.cut_from_ns.min(ns));
        self.control.set(0, Control { recheck_from_ns, cut_from_ns, ..now });
    }

    /// Says anew from when what tasks have open is checked: for each invocation that has tasks, when it expires, and
    /// whether it is barred. So a host on which nothing is barred any more pays nothing for what once was.
    pub fn recompute_recheck(&self, live: impl Iterator<Item = (u64, bool)>) {
        let due = live.map(|(expires_ns, barred)| if barred { 0 } else { expires_ns }).min();
        let recheck_from_ns = due.unwrap_or(u64::MAX);
        self.control.set(0, Control { recheck_from_ns, ..self.control.get(0) });
    }
}
