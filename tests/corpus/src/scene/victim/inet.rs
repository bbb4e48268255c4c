//! The victim's Internet sockets.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::sys::socket::accept;

use super::{greet, thread};
use crate::scene::{BROADCAST, GREETING, MULTICAST};
use crate::sys::net::{Address, bind, listens, socket};

const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// How many ports may turn out to be taken on one of the addresses.
const TRIES: u32 = 100;

/// The same free port of several addresses.
fn free<S>(addresses: &[IpAddr], make: impl Fn(IpAddr, u16) -> std::io::Result<S>) -> (u16, Vec<S>) {
    for _ in 0..TRIES {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = probe.local_addr().expect("bound").port();
        drop(probe);
        match addresses.iter().map(|ip| make(*ip, port)).collect() {
            Ok(sockets) => return (port, sockets),
            Err(e) if e.kind() == ErrorKind::AddrInUse => {}
            Err(e) => panic!("port {port}: {e}"),
        }
    }
    panic!("no port is free on all of {addresses:?}");
}

/// Greets on the same free port of all loopback addresses that attacks know.
pub(super) fn tcp() -> u16 {
    let addresses = [Ipv4Addr::LOCALHOST.into(), SECOND.into(), Ipv6Addr::LOCALHOST.into()];
    let (port, listeners) = free(&addresses, |ip, port| TcpListener::bind((ip, port)));
    for listener in listeners {
        thread(move || listener.incoming().flatten().for_each(greet));
    }
    sctp(port);
    port
}

/// Answers on the same free port of both loopback addresses, of loopback's broadcast address and of a group.
pub(super) fn udp() -> u16 {
    let addresses =
        [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), BROADCAST.into(), MULTICAST.into()];
    let (port, sockets) = free(&addresses, |ip, port| UdpSocket::bind((ip, port)));
    let group = sockets.last().expect("of the group");
    group.join_multicast_v4(&MULTICAST, &Ipv4Addr::LOCALHOST).expect("the group");
    sockets.into_iter().for_each(answer);
    udp_lite(port);
    port
}

fn answer(socket: UdpSocket) {
    thread(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 512]) {
            let _ = socket.send_to(GREETING.as_bytes(), from);
        }
    });
}

/// Many kernels have no UDP-Lite.
fn udp_lite(port: u16) {
    let Ok(socket) = socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) else { return };
    bind(&socket, &Address::inet(Ipv4Addr::LOCALHOST, port)).expect("binding UDP-Lite");
    answer(UdpSocket::from(socket));
}

/// Most kernels have no SCTP.
fn sctp(port: u16) {
    let Ok(socket) = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP) else { return };
    bind(&socket, &Address::inet(Ipv4Addr::LOCALHOST, port)).expect("binding SCTP");
    listens(&socket).expect("listening for SCTP");
    thread(move || {
        while let Ok(fd) = accept(socket.as_raw_fd()) {
            // SAFETY: a fresh fd that nothing else owns.
            let peer = unsafe { OwnedFd::from_raw_fd(fd) };
            greet(std::net::TcpStream::from(peer)); // writing is the same
        }
    });
}
