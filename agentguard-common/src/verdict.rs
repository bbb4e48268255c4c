//! Outcomes of a decision, with the reason an operator reads in the event.

/// What the kernel does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Decision {
    Allow = 1,
    /// Refused. `-EACCES` for files and exec, `-EPERM` for sockets.
    Deny = 2,
    /// Refused now; an approval may grant it later.
    Ask = 3,
}

/// Why a request was decided as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// A rule of the policy says so; the daemon names it from the same rules.
    Rule = 1,
    /// No rule matched: default deny.
    NoRule = 2,
    /// The invocation was revoked.
    Revoked = 3,
    /// The invocation's time is over.
    Expired = 4,
    /// The tag belongs to an earlier use of the slot, or the slot is not active.
    Stale = 5,
    /// The object's path could not be resolved (too deep, too long, disconnected, or a helper failed).
    Unresolvable = 6,
    /// A map, helper or scratch buffer was not available.
    Internal = 7,
    /// The socket family or type is not one that policy rules can express.
    Family = 8,
    /// A privilege that the policy does not grant.
    Privilege = 9,
    /// Moving or linking would give the object a right it does not have now.
    Widening = 10,
    /// Not decided by AgentGuard's own tables: Landlock refused it (level `compat`).
    Landlock = 11,
}

/// A decision and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub decision: Decision,
    pub reason: Reason,
}

impl Verdict {
    #[inline(always)]
    #[must_use]
    pub const fn new(decision: Decision, reason: Reason) -> Self {
        Self { decision, reason }
    }

    #[inline(always)]
    #[must_use]
    pub const fn deny(reason: Reason) -> Self {
        Self::new(Decision::Deny, reason)
    }

    /// As one number, for functions that only take those.
    #[inline(always)]
    #[must_use]
    pub const fn packed(self) -> u32 {
        (self.decision as u32) << 8 | self.reason as u32
    }

    /// The verdict from its number; a number that is none denies.
    #[inline(always)]
    #[must_use]
    pub const fn unpacked(packed: u32) -> Self {
        match (Decision::from_raw((packed >> 8) as u8), Reason::from_raw(packed as u8)) {
            (Some(decision), Some(reason)) => Self { decision, reason },
            _ => Self::deny(Reason::Internal),
        }
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_allow(self) -> bool {
        matches!(self.decision, Decision::Allow)
    }
}

impl Reason {
    /// The name used in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::NoRule => "no-rule",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Stale => "stale",
            Self::Unresolvable => "unresolvable",
            Self::Internal => "internal",
            Self::Family => "family",
            Self::Privilege => "privilege",
            Self::Widening => "widening",
            Self::Landlock => "landlock",
        }
    }

    /// The reason with wire value `raw`.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::Rule,
            2 => Self::NoRule,
            3 => Self::Revoked,
            4 => Self::Expired,
            5 => Self::Stale,
            6 => Self::Unresolvable,
            7 => Self::Internal,
            8 => Self::Family,
            9 => Self::Privilege,
            10 => Self::Widening,
            11 => Self::Landlock,
            _ => return None,
        })
    }
}

impl Decision {
    /// The name used in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Ask => "ask",
        }
    }

    /// The decision with wire value `raw`.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::Allow,
            2 => Self::Deny,
            3 => Self::Ask,
            _ => return None,
        })
    }
}
