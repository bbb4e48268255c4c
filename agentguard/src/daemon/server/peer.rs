//! Who is at the other end of a connection.

use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;

use agentguard_common::invocation::Tag;
use tokio::net::UnixStream;
use tokio::net::unix::UCred;

use super::super::Daemon;
use super::super::start::Caller;
use crate::kernel::pidfd_open;

/// `SO_PEERPIDFD` (Linux 6.5).
const SO_PEERPIDFD: i32 = 77;
/// `SO_PEERGROUPS` (Linux 4.13).
const SO_PEERGROUPS: i32 = 59;
/// Groups of a process: `NGROUPS_MAX` of `linux/limits.h`.
const MAX_GROUPS: usize = 65_536;

/// The process at the other end of a connection, as it was when it connected.
#[derive(Clone)]
pub(super) struct Peer {
    credentials: Option<UCred>,
    groups: Arc<[u32]>,
    pidfd: Option<Arc<OwnedFd>>,
}

/// The peer's pidfd from the socket, or by pid while the connection proves that it lives (before 6.5).
fn peer_pidfd(socket: i32, credentials: Option<UCred>) -> Option<OwnedFd> {
    let mut fd: i32 = -1;
    let mut len = size_of::<i32>() as u32;
    // SAFETY: the kernel writes one i32.
    let result = unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut fd).cast(), &raw mut len)
    };
    if result == 0 && fd >= 0 {
        // SAFETY: a fresh fd that nothing else owns.
        return Some(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    pidfd_open(credentials?.pid()?.cast_unsigned()).ok()
}

/// The peer's supplementary groups; none where the kernel does not say.
fn peer_groups(socket: i32) -> Vec<u32> {
    let mut groups = vec![0u32; 64];
    loop {
        let mut len = (groups.len() * size_of::<u32>()) as u32;
        // SAFETY: the kernel writes at most `len` bytes, and says how many.
        let result = unsafe {
            libc::getsockopt(
                socket,
                libc::SOL_SOCKET,
                SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let count = len as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return groups;
        }
        let too_small = std::io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE);
        if !too_small || count <= groups.len() || count > MAX_GROUPS {
            return Vec::new();
        }
        groups.resize(count, 0);
    }
}

impl Peer {
    pub(super) fn of(socket: &UnixStream) -> Self {
        let credentials = socket.peer_cred().ok();
        Self {
            credentials,
            groups: peer_groups(socket.as_raw_fd()).into(),
            pidfd: peer_pidfd(socket.as_raw_fd(), credentials).map(Arc::new),
        }
    }

    pub(super) fn uid(&self) -> Option<u32> {
        self.credentials.map(|c| c.uid())
    }

    /// The invocation that it runs as: `None` when that can't be told.
    pub(super) fn tag(&self, daemon: &Daemon) -> Option<Option<Tag>> {
        self.pidfd.as_ref().map(|pidfd| daemon.kernel().tag_of(pidfd.as_fd()))
    }

    /// Whether it is root, or a member of the group of operators.
    pub(super) fn is_operator(&self, daemon: &Daemon) -> bool {
        let member = |gid| self.groups.contains(&gid) || self.credentials.is_some_and(|c| c.gid() == gid);
        self.uid() == Some(0) || daemon.operators.is_some_and(member)
    }

    pub(super) fn caller(&self, daemon: &Daemon) -> Option<Caller> {
        let credentials = self.credentials?;
        let mut groups = self.groups.to_vec();
        groups.push(credentials.gid());
        Some(Caller {
            pidfd: self.pidfd.as_ref()?.try_clone().ok()?,
            pid: credentials.pid()?.cast_unsigned(),
            uid: credentials.uid(),
            groups,
            operator: self.is_operator(daemon),
        })
    }
}
