//! Servers on loopback that agents talk to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};

use crate::level::deadline;

/// A TCP listener whose `accept` has a deadline.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on a free port of `address`.
    #[must_use]
    pub fn on(address: &str) -> Self {
        Self(TcpListener::bind((address, 0)).unwrap_or_else(|e| panic!("listening on {address}: {e}")))
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Accepts a connection.
    ///
    /// # Panics
    /// After the deadline.
    #[must_use]
    pub fn accept(&self) -> TcpStream {
        await_readable(&self.0);
        self.0.accept().expect("accept").0
    }

    /// Whether nobody tried to connect.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0)
    }

    /// Answers one HTTP request with `body` on a thread, and hands over what was asked.
    #[must_use]
    pub fn answer_http(self, body: &'static str) -> JoinHandle<String> {
        std::thread::spawn(move || {
            let mut stream = self.accept();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                await_readable(&stream);
                let mut part = [0; 512];
                let n = stream.read(&mut part).expect("reading the request");
                assert_ne!(n, 0, "the client hung up");
                request.extend_from_slice(&part[..n]);
            }
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).expect("answering");
            String::from_utf8_lossy(&request).into_owned()
        })
    }
}

/// Waits until `socket` has something to read or to accept.
///
/// # Panics
/// After the deadline.
pub fn await_readable(socket: &impl std::os::fd::AsFd) {
    let timeout = PollTimeout::try_from(deadline()).unwrap_or(PollTimeout::MAX);
    let ready = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout);
    assert_eq!(ready, Ok(1), "nothing came within {:?}", deadline());
}

/// A UDP socket on a free port of `address`.
#[must_use]
pub fn udp(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap_or_else(|e| panic!("binding {address}: {e}"));
    socket.set_nonblocking(true).expect("non-blocking");
    socket
}

/// A UDP socket connected to a port of loopback. Unlike the standard library's it is not bound first, so that a policy need not
/// allow that.
///
/// # Errors
/// When connecting is refused.
pub fn udp_to(port: u16) -> nix::Result<UdpSocket> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port))?;
    Ok(UdpSocket::from(socket))
}

/// Bytes written to `stream` that its peer has not acknowledged. On loopback a packet is delivered and acknowledged
/// before the write returns, unless something stops it.
#[must_use]
pub fn unacknowledged(stream: &TcpStream) -> i32 {
    let mut bytes = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(result, 0, "SIOCOUTQ: {}", std::io::Error::last_os_error());
    bytes
}
