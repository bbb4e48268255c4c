use crate::sys::memory::{self, Page};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "protect-with-key",
    group: Group::Exec,
    tries: "Make memory executable with pkey_mprotect",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict what memory is executable"),
    recorded: Recorded::As(&["map-exec", "privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let page = Page::anonymous(memory::READ_WRITE)?.with_code();
    let protection = memory::READ_EXEC.bits() as usize;
    // SAFETY: an own mapping that nothing else uses; key -1 is none.
    unsafe {
        sys::call(libc::SYS_pkey_mprotect, [page.0.as_ptr().addr(), 4096, protection, usize::MAX, 0, 0])
    }
    .step("pkey_mprotect")?;
    page.runs()
}
