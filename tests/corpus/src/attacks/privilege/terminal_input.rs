use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "terminal-input",
    group: Group::Privilege,
    tries: "Put input into a terminal as if somebody typed it",
    who: Who::Anyone,
    compat: Compat::Depends("refused where dev.tty.legacy_tiocsti is 0, else open"),
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let pair = File::open("/dev/ptmx").step("opening a terminal")?;
    sys::in_child(|| {
        nix::unistd::setsid().step("setsid")?;
        let (unlock, mut number) = (0_i32, 0_i32);
        // SAFETY: every pointer is to what the request wants, and lives across the call.
        unsafe {
            sys::result(libc::ioctl(pair.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock).into())
                .step("unlocking it")?;
            sys::result(libc::ioctl(pair.as_raw_fd(), libc::TIOCGPTN, &raw mut number).into())
                .step("its number")?;
        }
        let path = format!("/dev/pts/{number}");
        let mut terminal = File::options().read(true).write(true).open(path).step("opening its other end")?;
        for byte in b"x\n" {
            // SAFETY: a byte that lives across the call.
            let put = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, &raw const *byte) };
            sys::absent_if(sys::result(put.into()), Errno::EIO, "dev.tty.legacy_tiocsti").step("TIOCSTI")?;
        }
        let mut typed = [0; 2];
        terminal.read_exact(&mut typed).step("reading")?;
        verify(&typed == b"x\n", "reading")
    })
}
