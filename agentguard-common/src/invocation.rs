//! The kernel's record of one invocation, and the tag that binds tasks and sockets to it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::verdict::Reason;

/// Slots of the `INVOCATIONS` map. Slot 0 is never used.
pub const MAX_INVOCATIONS: u32 = 65_536;

/// Value of task and socket storage: which invocation the task or socket belongs to.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Tag {
    pub slot: u32,
    /// Must equal the slot's generation, or the tag is stale.
    pub generation: u32,
}

/// Entries of the `TOOLS` map.
pub const MAX_TOOLS: u32 = 262_144;

/// Key of the `TOOLS` map: which identity a tool of an invocation has. By version of the policy, whose automaton numbers
/// the tools.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ToolKey {
    pub slot: u32,
    /// [`crate::policy::PolicyHeader::generation`].
    pub policy_generation: u32,
    /// Counted from 1, as in a state's row.
    pub tool: u32,
}

/// States of a slot.
pub mod state {
    pub const VACANT: u32 = 0;
    pub const ACTIVE: u32 = 1;
    pub const REVOKED: u32 = 2;
    pub const EXPIRED: u32 = 3;
    pub const ENDED: u32 = 4;
}

/// Flags of an invocation.
pub mod flags {
    /// Runs at a level that cannot enforce its whole policy; every event is marked.
    pub const DEGRADED: u32 = 1;
    /// Runs at level `compat`.
    pub const COMPAT: u32 = 1 << 1;
    /// Its processes are to be stopped, not killed, now that it is barred.
    pub const FROZEN: u32 = 1 << 2;
}

/// One slot. Written by the daemon through `mmap`, read by every hook; counters are the kernel's.
///
/// The first 32 bytes are all that a check needs.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct Invocation {
    pub generation: u32,
    /// [`state`].
    pub state: u32,
    /// End of life in nanoseconds of `CLOCK_BOOTTIME`; `u64::MAX` never ends.
    pub expires_ns: u64,
    /// Index into `POLICIES`; 0 denies everything.
    pub policy: u32,
    /// [`flags`].
    pub flags: u32,
    pub parent_slot: u32,
    pub parent_generation: u32,
    /// Sequence number of the next event: taken in the kernel, so a gap proves a loss.
    pub next_seq: u64,
    /// Live tasks, counted at fork and exit.
    pub tasks: u64,
    /// Denials.
    pub denied: u64,
    /// Events that found their ring full.
    pub lost: u64,
}

const _: () = assert!(size_of::<Invocation>() == 64);

impl Invocation {
    /// Why a task with `tag` may do nothing at all at time `now` (boot clock), if so.
    #[inline(always)]
    #[must_use]
    pub fn barred(&self, tag: Tag, now_ns: u64) -> Option<Reason> {
        self.barred_by(tag, || now_ns)
    }

    /// The same by a clock, which is only asked where there is an end.
    #[inline(always)]
    pub fn barred_by(&self, tag: Tag, clock: impl FnOnce() -> u64) -> Option<Reason> {
        if self.generation != tag.generation {
            return Some(Reason::Stale);
        }
        match self.state {
            state::ACTIVE => {}
            state::REVOKED => return Some(Reason::Revoked),
            state::EXPIRED => return Some(Reason::Expired),
            _ => return Some(Reason::Stale),
        }
        let expires = self.expires_ns;
        if expires != u64::MAX && clock() >= expires { Some(Reason::Expired) } else { None }
    }

    /// Whether the processes of `tag` are to be stopped rather than killed.
    #[inline(always)]
    #[must_use]
    pub const fn is_frozen(&self, tag: Tag) -> bool {
        self.generation == tag.generation && self.flags & flags::FROZEN != 0
    }

    /// Whether packets of open sockets of `tag` are stopped at time `now`. Not those of an invocation that ended by
    /// itself: what it sent before may still be on its way, and nobody is left to send more.
    #[inline(always)]
    #[must_use]
    pub fn cuts(&self, tag: Tag, now_ns: u64) -> bool {
        let ended = self.generation == tag.generation && self.state == state::ENDED;
        !ended && self.barred(tag, now_ns).is_some()
    }
}

/// Value of the one-entry `CONTROL` map, read before anything that an idle host should not pay for.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// Boot-clock time from which what tasks have open must be checked again: 0 while something barred lives, the
    /// earliest expiry otherwise, `u64::MAX` when nothing is due.
    pub recheck_from_ns: u64,
    /// The same for packets. It never grows: a socket outlives the tasks of its invocation, in other hands or in the
    /// kernel, which goes on sending what is queued.
    pub cut_from_ns: u64,
    /// Sets of programs, by their epoch, that record events: from this one to [`Self::record_to`]. Two sets are attached
    /// while a new build takes over. Both enforce then; what is seen by both is rather recorded twice than never.
    pub record_from: u32,
    pub record_to: u32,
    /// The one set that counts tasks.
    pub counts: u32,
    /// The newest generation of a policy's tables. None is given out twice: the kernel remembers states by it.
    pub newest_policy: u32,
}

impl Control {
    /// Nothing is due.
    pub const IDLE: Self = Self {
        recheck_from_ns: u64::MAX,
        cut_from_ns: u64::MAX,
        record_from: 0,
        record_to: 0,
        counts: 0,
        newest_policy: 0,
    };

    /// Whether the set of programs with `epoch` records events.
    #[inline(always)]
    #[must_use]
    pub const fn records(&self, epoch: u32) -> bool {
        self.record_from <= epoch && epoch <= self.record_to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag { slot: 1, generation: 7 };

    fn active() -> Invocation {
        Invocation { generation: 7, state: state::ACTIVE, expires_ns: 100, ..Invocation::default() }
    }

    #[test]
    fn an_active_slot_bars_nothing_until_it_expires() {
        assert_eq!(active().barred(TAG, 99), None);
        assert_eq!(active().barred(TAG, 100), Some(Reason::Expired));
    }

    #[test]
    fn a_slot_without_an_end_asks_no_clock() {
        let endless = Invocation { expires_ns: u64::MAX, ..active() };
        assert_eq!(endless.barred_by(TAG, || panic!("asked")), None);
        assert_eq!(active().barred_by(TAG, || 100), Some(Reason::Expired));
    }

    #[test]
    fn a_stale_tag_never_revives() {
        let reused = Invocation { generation: 8, ..active() };
        assert_eq!(reused.barred(TAG, 0), Some(Reason::Stale));
        assert_eq!(Invocation::default().barred(Tag::default(), 0), Some(Reason::Stale));
    }

    #[test]
    fn what_an_ended_invocation_sent_goes_out() {
        let ended = Invocation { state: state::ENDED, ..active() };
        assert!(ended.barred(TAG, 0).is_some() && !ended.cuts(TAG, 1000));
        assert!(Invocation { state: state::REVOKED, ..active() }.cuts(TAG, 0));
        assert!(active().cuts(TAG, 100) && !active().cuts(TAG, 99));
        assert!(Invocation { generation: 8, ..ended }.cuts(TAG, 0));
    }

    #[test]
    fn revoked_is_said_before_expired() {
        let revoked = Invocation { state: state::REVOKED, ..active() };
        assert_eq!(revoked.barred(TAG, 1000), Some(Reason::Revoked));
    }
}
