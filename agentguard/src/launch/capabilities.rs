//! Level `compat`: capabilities that no rule mediates are given up for good, unless the policy grants them.

use agentguard_common::policy::privilege;
use anyhow::{Context as _, Result};
use caps::{CapSet, Capability};

/// Whether an agent with these privileges may keep a capability.
fn kept(capability: Capability, privileges: u32) -> bool {
    let any_of = privilege::for_capability(capability.index().into());
    any_of == 0 || any_of & privileges != 0
}

/// Takes the capabilities that `privileges` do not cover out of reach of every program executed from now on. Needs
/// `CAP_SETPCAP`; an ordinary user, who has none of them, gets none by executing either (no-new-privs).
///
/// # Errors
/// If the kernel refuses.
pub fn give_up(privileges: u32) -> Result<()> {
    caps::clear(None, CapSet::Ambient).context("clearing the ambient capabilities")?;
    for capability in caps::all().into_iter().filter(|c| !kept(*c, privileges)) {
        let giving_up = || format!("giving up {capability}");
        caps::drop(None, CapSet::Inheritable, capability).with_context(giving_up)?;
        // An agent that starts another has given up the right to drop more, mostly with all there is to drop.
        if caps::has_cap(None, CapSet::Bounding, capability).with_context(giving_up)? {
            caps::drop(None, CapSet::Bounding, capability).with_context(giving_up)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_beyond_files_and_users_goes() {
        for gone in [Capability::CAP_SYS_ADMIN, Capability::CAP_BPF, Capability::CAP_NET_ADMIN] {
            assert!(!kept(gone, 0), "{gone}");
            assert!(kept(gone, privilege::CAPABILITIES), "{gone}");
        }
        for stays in [Capability::CAP_CHOWN, Capability::CAP_SETUID, Capability::CAP_DAC_OVERRIDE] {
            assert!(kept(stays, 0), "{stays}");
        }
        assert!(kept(Capability::CAP_NET_RAW, privilege::RAW_SOCKET));
    }
}
