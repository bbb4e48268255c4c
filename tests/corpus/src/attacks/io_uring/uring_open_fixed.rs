use io_uring::{opcode, types};

use crate::scene::SECRET;
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-open-fixed",
    group: Group::IoUring,
    tries: "Open a file through io_uring without a descriptor",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["open"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::OpenAt::CODE)?.with_files()?;
    let path = sys::c(&scene.secret);
    let slot = types::DestinationSlot::try_from_slot_target(0).expect("a slot");
    let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).file_index(Some(slot)).build();
    let mut bytes = vec![0; SECRET.len()];
    let read = opcode::Read::new(types::Fixed(0), bytes.as_mut_ptr(), bytes.len() as u32).build();
    // SAFETY: the path and the bytes live across the calls.
    unsafe {
        ring.perform(&open).step("opening")?;
        ring.perform(&read).step("reading")?;
    }
    scene.is_secret(bytes)
}
