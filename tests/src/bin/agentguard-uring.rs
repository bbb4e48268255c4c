//! Connects through io_uring, by a kernel thread that submits for this process, and prints the error numbers of
//! making the socket and of connecting it (0: none). Arguments: IPv4 address and port.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, opcode, squeue, types};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrLike as _, socket};

/// Submits one operation and returns its result, negative errors as the kernel gives them.
fn perform(ring: &mut IoUring, entry: &squeue::Entry) -> i32 {
    // SAFETY: what the entry points to lives until the operation is completed below.
    unsafe { ring.submission().push(entry) }.expect("room for one entry");
    ring.submit_and_wait(1).expect("io_uring_enter");
    ring.completion().next().expect("one completion").result()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, port] = &arguments[..] else { panic!("usage: agentguard-uring ADDRESS PORT") };
    let address: Ipv4Addr = address.parse().expect("an IPv4 address");
    let address = SockaddrIn::from(SocketAddrV4::new(address, port.parse().expect("a port")));
    let mut ring = IoUring::builder().setup_sqpoll(1000).build(4).expect("io_uring_setup");
    let made = perform(&mut ring, &opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build());
    let fallback;
    let fd = if made >= 0 {
        made
    } else {
        fallback = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).expect("socket");
        fallback.as_raw_fd()
    };
    let connect = opcode::Connect::new(types::Fd(fd), address.as_ptr(), address.len()).build();
    let connected = perform(&mut ring, &connect);
    println!("{} {}", -made.min(0), -connected);
}
