use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "interface-flags",
    group: Group::Privilege,
    tries: "Configure a network interface, to what it is",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
    let socket = socket(family, SockType::Datagram, flags, None).step("socket")?;
    // SAFETY: integers; zero is a value of all of them. The request lives across the calls.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
        sys::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request).into())
            .step("SIOCGIFFLAGS")?;
        let set = libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request);
        sys::result(set.into()).step("SIOCSIFFLAGS").map(drop)
    }
}
