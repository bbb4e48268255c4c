use std::io::Read as _;

use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "terminal-input",
    group: Group::Privilege,
    tries: "Put input into the terminal that the agent was started from, as if somebody typed it",
    who: Who::Anyone,
    compat: Compat::Depends("open where the kernel allows it: dev.tty.legacy_tiocsti is 1"),
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    for byte in b"x\n" {
        // SAFETY: a byte that lives across the call.
        let put = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSTI, &raw const *byte) };
        sys::absent_if(sys::result(put.into()), Errno::EIO, "dev.tty.legacy_tiocsti").step("TIOCSTI")?;
    }
    let mut typed = [0; 2];
    std::io::stdin().read_exact(&mut typed).step("reading")?;
    verify(&typed == b"x\n", "reading")
}
