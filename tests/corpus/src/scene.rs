//! What an attack finds: an own workspace, secrets that are none of its business, and somebody outside.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// Content of [`Scene::secret`].
pub const SECRET: &str = "the secret of the house\n";
/// What the victim's listeners send to whoever connects, and answer to a datagram.
pub const GREETING: &str = "welcome";
/// Reaches everybody on the loopback interface.
pub const BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
/// A group that the victim is a member of, on the loopback interface.
pub const MULTICAST: Ipv4Addr = Ipv4Addr::new(239, 65, 71, 1);

/// An address for documentation that the agent may connect to. Nobody is there.
pub const NOWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// A signal that the victim does not take: it stays pending, which everybody can see.
pub const BLOCKED: Signal = Signal::SIGUSR1;

/// Where everything is. The kernel's own permissions let the attacker at all of it: only AgentGuard stands between.
///
/// The agent's policy allows, besides what every program needs (reading and executing `/usr/**`, reading `/etc/**`,
/// `/proc/**`, `/sys/**`, `/dev/**`, writing `/dev/null` and terminals):
/// - everything but `exec` and `link` in the workspace, and in `tmp` below it everything but `exec`; but nothing in
///   `kept/inside`, and of nothing named `.env`;
/// - executing this program;
/// - connecting over TCP and UDP to the allowed port on 127.0.0.1 and [`NOWHERE`], and binding of nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scene {
    /// The agent's own directory, on the same file system as the rest. Also its current directory.
    pub workspace: PathBuf,
    /// A directory outside that anyone may list, write and search, with the empty directory `empty` in it. Not allowed
    /// to the agent.
    pub outside: PathBuf,
    /// A file in `outside` that anyone may read and write, with [`SECRET`] in it. Not allowed to the agent.
    /// Where the file system has such attributes, its attribute `user.corpus` is [`SECRET`] too.
    pub secret: PathBuf,
    /// A file descriptor, open on the secret for reading and writing, in whoever starts the attack or the agent.
    pub inherited: i32,
    /// A file in the workspace that a deny rule names, with [`SECRET`] in it: `workspace/private/.env`.
    pub denied: PathBuf,
    /// A directory in the workspace with `inside/key`, [`SECRET`], in it. A deny rule names all of `inside` by its whole
    /// path: so no more where `kept` or `inside` was moved.
    pub kept: PathBuf,
    /// A directory that the agent may only read: `readable/`, with the file `text` in it. What is in `library` there,
    /// another file `text`, it may also delete and link.
    pub readable: PathBuf,
    /// A copy of `/usr/bin/id` in `outside` that anyone may execute. Not allowed to the agent.
    pub program: PathBuf,
    /// The program that makes the attacks, which the agent may execute.
    pub this: PathBuf,
    pub victim: Victim,
    pub guard: Guard,
}

/// AgentGuard itself: a daemon runs with and without an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Guard {
    pub daemon: i32,
    /// Address of its program in its memory: the magic of ELF.
    pub image: usize,
    /// The control socket, which the kernel's permissions let everyone connect to.
    pub control: PathBuf,
    pub event_log: PathBuf,
}

/// A process outside the invocation, of the same user and in its own process group, that minds its own business.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Victim {
    pub pid: i32,
    /// Address of [`SECRET`]'s bytes in its memory.
    pub memory: usize,
    /// A file descriptor of the victim's, open for reading and writing on [`Scene::secret`].
    pub fd: i32,
    /// TCP port on 127.0.0.1, 127.0.0.2 and ::1 that sends [`GREETING`] on connect: allowed to the agent on 127.0.0.1.
    pub tcp_allowed: u16,
    /// The same, not allowed to the agent. Also an SCTP port, on 127.0.0.1, where the kernel has SCTP.
    pub tcp: u16,
    /// UDP port on 127.0.0.1 and ::1, and of [`BROADCAST`] and [`MULTICAST`], that answers [`GREETING`] to every
    /// datagram. Not allowed to the agent. Also a UDP-Lite port, on 127.0.0.1, where the kernel has UDP-Lite.
    pub udp: u16,
    /// Unix sockets in `outside` that send, or answer, [`GREETING`]. Not allowed to the agent.
    pub stream: PathBuf,
    pub datagram: PathBuf,
    pub seqpacket: PathBuf,
    /// Name of an abstract stream socket (without the leading null byte) that sends [`GREETING`].
    pub abstract_stream: String,
    /// Name of an abstract datagram socket that answers [`GREETING`].
    pub abstract_datagram: String,
    /// A Unix stream socket in the workspace, which the agent's policy lets it connect to. It sends one byte with a
    /// descriptor of [`Scene::secret`] (`SCM_RIGHTS`) that it opened just then, for reading and writing.
    pub gives_fd: PathBuf,
    /// The same, sending a descriptor of a TCP socket connected to the port `tcp`, whose greeting waits to be read.
    pub gives_socket: PathBuf,
    /// Id of a System V shared memory segment with [`SECRET`] in it that anyone may attach.
    pub sysv_shared: i32,
    /// POSIX shared memory object (`/dev/shm/NAME`) with [`SECRET`] in it that anyone may open. Not allowed.
    pub shared: PathBuf,
    /// Name of a POSIX message queue that anyone may open, with room for one message. Not allowed for writing.
    pub queue: String,
}

impl Scene {
    /// A path in the workspace.
    #[must_use]
    pub fn own(&self, name: &str) -> PathBuf {
        self.workspace.join(name)
    }

    /// Verifies that `bytes` are the secret.
    ///
    /// # Errors
    /// See [`crate::verify`].
    pub fn is_secret(&self, bytes: impl AsRef<[u8]>) -> Result<(), crate::Stop> {
        crate::verify(bytes.as_ref() == SECRET.as_bytes(), "reading the secret")
    }

    /// Reads all of `path` and verifies that it is the secret.
    ///
    /// # Errors
    /// When it can't be read, or is something else.
    pub fn reads_secret(&self, path: impl AsRef<Path>) -> Result<(), crate::Stop> {
        use crate::Step as _;
        let bytes = std::fs::read(path).step("reading")?;
        self.is_secret(bytes)
    }
}

mod victim;
pub use victim::serve;
