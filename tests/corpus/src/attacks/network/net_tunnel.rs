use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-tunnel",
    group: Group::Network,
    tries: "Make a network interface",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open", "privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let file = std::fs::File::options().read(true).write(true).open("/dev/net/tun");
    let file = sys::absent_if(file, Errno::ENOENT, "tunnels").step("opening")?;
    // SAFETY: integers; zero is a value of all of them. The request lives across the call.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_ifru.ifru_flags = libc::IFF_TUN as i16;
        sys::result(libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request).into())
            .step("TUNSETIFF")
            .map(drop)
    }
}
