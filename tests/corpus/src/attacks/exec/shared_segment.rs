use nix::errno::Errno;

use crate::sys::memory::{self, Page};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "shared-segment",
    group: Group::Exec,
    tries: "Attach a System V shared memory segment as executable",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict what memory is executable"),
    recorded: Recorded::As(&["map-exec", "privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    // SAFETY: a new segment of a page, which goes when this process does.
    let page = unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o700);
        sys::result(id.into()).step("making a segment")?;
        let writable = libc::shmat(id, std::ptr::null(), 0);
        let first = Errno::last();
        let address = libc::shmat(id, std::ptr::null(), libc::SHM_EXEC);
        let second = Errno::last();
        libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        if writable.addr() == usize::MAX {
            return Err(first).step("attaching it for writing");
        }
        if address.addr() == usize::MAX {
            return Err(second).step("attaching it as executable");
        }
        writable.cast::<u8>().copy_from(memory::CODE.as_ptr(), memory::CODE.len());
        Page(std::ptr::NonNull::new(address).expect("attached"))
    };
    page.runs()
}
