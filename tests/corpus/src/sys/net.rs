//! Sockets, addresses, and the victim's answers.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    Backlog, ControlMessageOwned, MsgFlags, SockaddrLike, SockaddrStorage, UnixAddr, getsockopt, listen,
    recv, recvmsg, sockopt,
};

use super::{result, said};
use crate::scene::{GREETING, Scene};
use crate::{Step as _, Stop, verify};

/// What attacks send.
pub const HELLO: &[u8] = b"hello";

/// How long an answer may take, in milliseconds: also in a slow guest. Only reached when none comes.
const PATIENCE: u16 = 20_000;

/// An address as the kernel wants it, of any family.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    storage: libc::sockaddr_storage,
    length: u32,
}

impl Address {
    /// Takes over a library's address.
    #[must_use]
    pub fn of(address: &impl SockaddrLike) -> Self {
        // SAFETY: integers; zero is a value of all of them.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        // SAFETY: an address has so many bytes, and the storage has room for every kind.
        unsafe {
            let bytes = (&raw mut storage).cast::<u8>();
            bytes.copy_from(address.as_ptr().cast(), address.len() as usize);
        }
        Self { storage, length: address.len() }
    }

    #[must_use]
    pub fn inet(ip: impl Into<IpAddr>, port: u16) -> Self {
        Self::of(&SockaddrStorage::from(SocketAddr::new(ip.into(), port)))
    }

    /// A Unix socket by path.
    ///
    /// # Errors
    /// When the path is too long for an address.
    pub fn path(path: &Path) -> Result<Self, Stop> {
        let path = path.as_os_str().as_bytes();
        let mut address = libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: [0; 108] };
        let room = address.sun_path.get_mut(..path.len()).ok_or(Errno::ENAMETOOLONG).step("address")?;
        room.iter_mut().zip(path).for_each(|(to, from)| *to = from.cast_signed());
        // SAFETY: integers; zero is a value of all of them.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        // SAFETY: the storage has room for every kind of address.
        unsafe { (&raw mut storage).cast::<libc::sockaddr_un>().write(address) };
        Ok(Self { storage, length: (offset_of!(libc::sockaddr_un, sun_path) + path.len()) as u32 })
    }

    /// A Unix socket by abstract name.
    ///
    /// # Errors
    /// When the name is too long for an address.
    pub fn named(name: &str) -> Result<Self, Stop> {
        Ok(Self::of(&UnixAddr::new_abstract(name.as_bytes()).step("address")?))
    }

    /// The same bytes, said to be of another family.
    #[must_use]
    pub fn said_to_be(mut self, family: i32) -> Self {
        self.storage.ss_family = family as u16;
        self
    }

    /// The same, said to have so many bytes.
    #[must_use]
    pub fn cut(self, length: u32) -> Self {
        Self { length, ..self }
    }

    #[must_use]
    pub fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    #[must_use]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The bytes of an IPv4 address, for options that take a list of addresses.
    #[must_use]
    pub fn as_inet(&self) -> libc::sockaddr_in {
        // SAFETY: the storage has room for it, and any bytes are one.
        unsafe { self.as_ptr().cast::<libc::sockaddr_in>().read() }
    }
}

/// A message to `to` for `sendmsg` and its like. It points to `to`, `data` and static bytes.
#[must_use]
pub fn message(to: &Address, data: &mut libc::iovec) -> libc::msghdr {
    *data = libc::iovec { iov_base: HELLO.as_ptr().cast_mut().cast(), iov_len: HELLO.len() };
    // SAFETY: integers and pointers; zero is a value of all of them.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.length();
    message.msg_iov = data;
    message.msg_iovlen = 1;
    message
}

/// An `iovec` for [`message`] to fill.
#[must_use]
pub fn no_data() -> libc::iovec {
    libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }
}

/// Makes a socket.
///
/// # Errors
/// When the kernel refuses. [`Stop::Absent`] when it has none of the kind.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Stop> {
    // SAFETY: takes integers.
    let fd = result(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }.into());
    let unknown = [Errno::EAFNOSUPPORT, Errno::EPROTONOSUPPORT, Errno::ESOCKTNOSUPPORT];
    let fd = unknown.into_iter().fold(fd, |fd, e| super::absent_if(fd, e, "such sockets")).step("socket")?;
    // SAFETY: a fresh fd that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A TCP socket of IPv4.
///
/// # Errors
/// See [`socket`].
pub fn tcp() -> Result<OwnedFd, Stop> {
    socket(libc::AF_INET, libc::SOCK_STREAM, 0)
}

/// A UDP socket of IPv4.
///
/// # Errors
/// See [`socket`].
pub fn udp() -> Result<OwnedFd, Stop> {
    socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
}

/// A Unix socket with a path of its own in the workspace, for answers.
///
/// # Errors
/// When the kernel refuses.
pub fn unix(scene: &Scene, kind: i32, name: &str) -> Result<OwnedFd, Stop> {
    let fd = socket(libc::AF_UNIX, kind, 0)?;
    bind(&fd, &Address::path(&scene.own(name))?)?;
    Ok(fd)
}

/// # Errors
/// When the kernel refuses.
pub fn connect(socket: impl AsFd, to: &Address) -> Result<(), Stop> {
    // SAFETY: the address lives across the call.
    let connected = unsafe { libc::connect(socket.as_fd().as_raw_fd(), to.as_ptr(), to.length()) };
    result(connected.into()).step("connect").map(drop)
}

/// Ends a connection, as a resolver does with every address that it tries.
///
/// # Errors
/// With error number 0: nobody may refuse it.
pub fn disconnect(socket: impl AsFd) -> Result<(), Stop> {
    let nobody = Address::inet(Ipv4Addr::UNSPECIFIED, 0).said_to_be(libc::AF_UNSPEC);
    verify(connect(socket, &nobody).is_ok(), "disconnecting")
}

/// # Errors
/// When the kernel refuses.
pub fn bind(socket: impl AsFd, to: &Address) -> Result<(), Stop> {
    // SAFETY: the address lives across the call.
    let bound = unsafe { libc::bind(socket.as_fd().as_raw_fd(), to.as_ptr(), to.length()) };
    result(bound.into()).step("bind").map(drop)
}

/// Sends to an address.
///
/// # Errors
/// When the kernel refuses.
pub fn send(socket: impl AsFd, to: &Address, flags: MsgFlags) -> Result<(), Stop> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the address and the data live across the call.
    let sent = unsafe {
        libc::sendto(fd, HELLO.as_ptr().cast(), HELLO.len(), flags.bits(), to.as_ptr(), to.length())
    };
    result(sent as i64).step("sendto").map(drop)
}

/// Sends to two addresses with one call.
///
/// # Errors
/// When the kernel refuses. It tells of the second one when that is sent again.
pub fn send_many(socket: impl AsFd, to: &[Address; 2]) -> Result<(), Stop> {
    let mut data = [no_data(), no_data()];
    let [first, second] = &mut data;
    let messages = [message(&to[0], first), message(&to[1], second)];
    let mut messages = messages.map(|msg_hdr| libc::mmsghdr { msg_hdr, msg_len: 0 });
    let mut sent = 0;
    while sent < messages.len() {
        let rest = &mut messages[sent..];
        let (fd, count) = (socket.as_fd().as_raw_fd(), rest.len() as u32);
        // SAFETY: the messages and what they point to live across the call.
        let n = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), count, 0) };
        sent += result(n.into()).step("sendmmsg")? as usize;
    }
    Ok(())
}

/// Sends an ICMP echo request to this machine and awaits the reply.
///
/// # Errors
/// When either fails.
pub fn pings(socket: impl AsFd) -> Result<(), Stop> {
    // Type, code, checksum, identifier and number.
    const REQUEST: [u8; 8] = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let (fd, to) = (socket.as_fd().as_raw_fd(), Address::inet(Ipv4Addr::LOCALHOST, 0));
    // SAFETY: the address and the data live across the call.
    let sent = unsafe { libc::sendto(fd, REQUEST.as_ptr().cast(), 8, 0, to.as_ptr(), to.length()) };
    result(sent as i64).step("sendto")?;
    await_event(&socket, PollFlags::POLLIN)
}

/// Awaits that a packet socket shows the victim's answer to a datagram.
///
/// # Errors
/// When it does not.
pub fn overhears(socket: impl AsFd, scene: &Scene) -> Result<(), Stop> {
    const PACKETS: u32 = 10_000; // of others
    asks(udp()?, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp))?;
    let mut packet = [0; 2048];
    for _ in 0..PACKETS {
        await_event(&socket, PollFlags::POLLIN)?;
        let n = recv(socket.as_fd().as_raw_fd(), &mut packet, MsgFlags::empty()).step("recv")?;
        if packet[..n].ends_with(GREETING.as_bytes()) {
            return Ok(());
        }
    }
    verify(false, "the victim's packet")
}

/// Awaits the victim's greeting.
///
/// # Errors
/// When none comes.
pub fn greets(socket: impl AsFd) -> Result<(), Stop> {
    let mut bytes = [0; 64];
    await_event(&socket, PollFlags::POLLIN)?;
    let n = recv(socket.as_fd().as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).step("recv")?;
    verify(&bytes[..n] == GREETING.as_bytes(), "the greeting")
}

/// # Errors
/// When the event does not come.
pub fn await_event(socket: impl AsFd, event: PollFlags) -> Result<(), Stop> {
    let ready = poll(&mut [PollFd::new(socket.as_fd(), event)], PollTimeout::from(PATIENCE)).step("poll")?;
    verify(ready == 1, "awaiting it")
}

/// Connects a socket and awaits the greeting.
///
/// # Errors
/// When either fails.
pub fn connects(socket: impl AsFd, to: &Address) -> Result<(), Stop> {
    connect(&socket, to)?;
    greets(socket)
}

/// Sends a datagram to an address and awaits the answer.
///
/// # Errors
/// When either fails.
pub fn asks(socket: impl AsFd, to: &Address) -> Result<(), Stop> {
    send(&socket, to, MsgFlags::empty())?;
    greets(socket)
}

/// Sends a datagram to the peer it is connected to and awaits the answer.
///
/// # Errors
/// When either fails.
pub fn asks_peer(socket: impl AsFd) -> Result<(), Stop> {
    nix::sys::socket::send(socket.as_fd().as_raw_fd(), HELLO, MsgFlags::empty()).step("send")?;
    greets(socket)
}

/// Listens.
///
/// # Errors
/// When the kernel refuses.
pub fn listens(socket: impl AsFd) -> Result<(), Stop> {
    listen(&socket, Backlog::new(1).step("backlog")?).step("listen")?;
    verify(getsockopt(&socket, sockopt::AcceptConn).step("SO_ACCEPTCONN")?, "listening")
}

/// Sets an option of a socket.
///
/// # Errors
/// When the kernel refuses.
pub fn set<T>(socket: impl AsFd, level: i32, option: i32, value: &T) -> Result<(), Stop> {
    let (fd, length) = (socket.as_fd().as_raw_fd(), size_of::<T>() as u32);
    // SAFETY: the value lives across the call, and has so many bytes.
    let set = unsafe { libc::setsockopt(fd, level, option, std::ptr::from_ref(value).cast(), length) };
    result(set.into()).step("setsockopt").map(drop)
}

/// Connects to a service in the workspace and receives the socket that it gives.
///
/// # Errors
/// `EACCES` when the message comes without: so the kernel tells of a refusal.
pub fn given(path: &Path) -> Result<OwnedFd, Stop> {
    let service = UnixStream::connect(path).step("connecting to the service")?;
    let mut space = nix::cmsg_space!(i32);
    let mut byte = [0];
    let mut data = [std::io::IoSliceMut::new(&mut byte)];
    let fd = service.as_fd().as_raw_fd();
    let message =
        recvmsg::<()>(fd, &mut data, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).step("recvmsg")?;
    // A descriptor that the receiver may not have is left out, and the message marked as cut short.
    let controls =
        said(message.cmsgs().step("the connection did not arrive"), Errno::ENOBUFS, Errno::EACCES)?;
    let given = controls.into_iter().find_map(|m| match m {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let fd = given.ok_or(Errno::EACCES).step("receiving the descriptor")?;
    // SAFETY: a fresh fd that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
