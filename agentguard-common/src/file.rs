//! File and exec decisions: access modes, and the walk of a policy's DFA over the bytes of a path.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Words;
use crate::policy::{FileTables, PolicyHeader};
use crate::verdict::{Decision, Reason, Verdict};

/// A set of access modes, as a bit mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Access(pub u16);

impl Access {
    pub const NONE: Self = Self(0);
    /// Open for reading, list a directory.
    pub const READ: Self = Self(1);
    /// Open for writing, truncate, change attributes.
    pub const WRITE: Self = Self(1 << 1);
    /// Make a file, directory, symbolic link, device node, socket or pipe.
    pub const CREATE: Self = Self(1 << 2);
    /// Remove a file or directory, or rename it away.
    pub const DELETE: Self = Self(1 << 3);
    /// Execute, or map executable.
    pub const EXEC: Self = Self(1 << 4);
    /// Make a hard link of it.
    pub const LINK: Self = Self(1 << 5);
    /// Connect or send to it as a Unix socket.
    pub const CONNECT: Self = Self(1 << 6);
    /// Every mode.
    pub const ALL: Self = Self(0x7f);

    /// Each single mode with the name that policies and events use.
    pub const NAMED: [(&'static str, Self); 7] = [
        ("read", Self::READ),
        ("write", Self::WRITE),
        ("create", Self::CREATE),
        ("delete", Self::DELETE),
        ("exec", Self::EXEC),
        ("link", Self::LINK),
        ("connect", Self::CONNECT),
    ];

    #[inline(always)]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[inline(always)]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline(always)]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Whether what moves from a place with verdict `old` to one with verdict `new` could be used in a way that it can't now.
#[inline(always)]
#[must_use]
pub const fn widens(old: StateVerdict, new: StateVerdict) -> bool {
    !old.allow().contains(new.allow()) || !old.allow().union(old.ask()).contains(new.ask())
}

/// The same for a directory: `old` and `new` are the states behind its path and a slash, with their verdicts. The same
/// state means the same rules below; other states are only compared where nothing below differs any more.
#[inline(always)]
#[must_use]
pub const fn widens_below(old: (u32, StateVerdict), new: (u32, StateVerdict)) -> bool {
    let settled = old.1.is_final() && new.1.is_final();
    old.0 != new.0 && (!settled || widens(old.1, new.1))
}

/// Words in one state row: base, default, verdict, tool.
pub const STATE_WORDS: u32 = 4;
/// Words in one comb entry: check, next.
pub const COMB_WORDS: u32 = 2;
/// Words of the byte class table.
pub const CLASS_WORDS: u32 = 64;

/// How long a walk that came to a state stays in it, whatever bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Some byte of a name leads elsewhere.
    None,
    /// To the end of the name: only a slash leads elsewhere.
    Name,
    /// To the end of the path.
    Path,
}

/// The verdict word of a state: allow mask, ask mask, and how long a walk stays there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct StateVerdict(pub u32);

impl StateVerdict {
    const ASK_SHIFT: u32 = 16;
    /// Every byte leads back to this state: the walk may stop.
    pub const FINAL: u32 = 1 << 31;
    /// Every byte but a slash does: the walk may stop for this name.
    pub const NAMED: u32 = 1 << 15;

    #[must_use]
    pub const fn new(allow: Access, ask: Access, stay: Stay) -> Self {
        let stay = match stay {
            Stay::None => 0,
            Stay::Name => Self::NAMED,
            Stay::Path => Self::NAMED | Self::FINAL,
        };
        Self(allow.0 as u32 | ((ask.0 as u32) << Self::ASK_SHIFT) | stay)
    }

    #[inline(always)]
    #[must_use]
    pub const fn allow(self) -> Access {
        Access((self.0 & 0x7fff) as u16)
    }

    #[inline(always)]
    #[must_use]
    pub const fn ask(self) -> Access {
        Access(((self.0 >> Self::ASK_SHIFT) & 0x7fff) as u16)
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.0 & Self::FINAL != 0
    }

    /// Whether the rest of a name changes nothing.
    #[inline(always)]
    #[must_use]
    pub const fn stays_in_name(self) -> bool {
        self.0 & Self::NAMED != 0
    }
}

/// A decision to be made about a path from memory, by itself: what stands before the path.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Trial {
    /// Index of the policy's version.
    pub policy: u32,
    /// [`Access`].
    pub want: u32,
    /// 0 to have everything done but the decision.
    pub decides: u32,
    pub padding: u32,
}

/// The state after reading `byte` in `state`.
#[inline(always)]
pub fn step<W: Words + ?Sized>(words: &W, tables: FileTables, state: u32, byte: u8) -> u32 {
    let class = u32::from(words.byte(tables.classes, byte));
    let row = tables.states + state * STATE_WORDS;
    let entry = tables.comb + (words.word(row) + class) * COMB_WORDS;
    if words.word(entry) == state { words.word(entry + 1) } else { words.word(row + 1) }
}

/// The verdicts of a path that ended in `state`.
#[inline(always)]
pub fn state_verdict<W: Words + ?Sized>(words: &W, tables: FileTables, state: u32) -> StateVerdict {
    StateVerdict(words.word(tables.states + state * STATE_WORDS + 2))
}

/// The tool whose program a path that ended in `state` is, counted from 1 in the order of the policy; 0 for none.
#[inline(always)]
pub fn state_tool<W: Words + ?Sized>(words: &W, tables: FileTables, state: u32) -> u32 {
    words.word(tables.states + state * STATE_WORDS + 3)
}

/// Decides a request for all modes in `want` on an object whose path ended in a state with `verdict`.
///
/// No mode asked for means nothing is asked for, which is allowed.
#[inline(always)]
#[must_use]
pub const fn decide(verdict: StateVerdict, want: Access) -> Verdict {
    let missing = want.without(verdict.allow());
    if missing.is_empty() {
        return Verdict::new(Decision::Allow, Reason::Rule);
    }
    if verdict.ask().contains(missing) {
        return Verdict::new(Decision::Ask, Reason::Rule);
    }
    // Whether a deny rule or no rule at all decided is found by the daemon, which runs the rules again.
    Verdict::deny(Reason::Rule)
}

/// The state behind a whole path, on the host. The kernel walks the same [`step`] in a `bpf_loop`.
pub fn state_behind<W: Words + ?Sized>(words: &W, policy: &PolicyHeader, path: &[u8]) -> u32 {
    let tables = policy.file_tables();
    path.iter().fold(tables.start, |state, byte| step(words, tables, state, *byte))
}

/// The verdict about a whole path, on the host.
pub fn walk<W: Words + ?Sized>(words: &W, policy: &PolicyHeader, path: &[u8]) -> StateVerdict {
    state_verdict(words, policy.file_tables(), state_behind(words, policy, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: StateVerdict = StateVerdict::new(Access::READ, Access::NONE, Stay::Path);
    const BOTH: StateVerdict = StateVerdict::new(Access(3), Access::NONE, Stay::Path);
    const ASKED: StateVerdict = StateVerdict::new(Access::READ, Access::WRITE, Stay::Path);

    #[test]
    fn moving_must_not_add_a_right() {
        assert!(widens(READ, BOTH) && !widens(BOTH, READ) && !widens(BOTH, BOTH));
        assert!(widens(ASKED, BOTH) && !widens(BOTH, ASKED) && widens(READ, ASKED));
    }

    #[test]
    fn a_directory_moves_where_the_same_rules_are_below() {
        let open = |verdict: StateVerdict| StateVerdict(verdict.0 & !StateVerdict::FINAL);
        assert!(!widens_below((7, open(READ)), (7, open(READ))));
        assert!(widens_below((7, open(BOTH)), (8, open(READ))), "rules further down may differ");
        assert!(!widens_below((7, BOTH), (8, READ)) && widens_below((7, READ), (8, BOTH)));
    }
}
