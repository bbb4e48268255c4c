use std::net::Ipv4Addr;

use io_uring::{opcode, types};

use crate::scene::GREETING;
use crate::sys::net::Address;
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-connect-fixed",
    group: Group::IoUring,
    tries: "Connect a socket without a descriptor through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::Socket::CODE)?.with_files()?;
    let slot = types::DestinationSlot::try_from_slot_target(0).expect("a slot");
    let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).file_index(Some(slot)).build();
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp);
    let connect = opcode::Connect::new(types::Fixed(0), to.as_ptr(), to.length()).build();
    let mut bytes = [0; GREETING.len()];
    let receive = opcode::Recv::new(types::Fixed(0), bytes.as_mut_ptr(), bytes.len() as u32).build();
    // SAFETY: the address and the bytes live across the calls.
    unsafe {
        ring.perform(&socket).step("socket")?;
        ring.perform(&connect).step("connecting")?;
        ring.perform(&receive).step("receiving")?;
    }
    verify(bytes == GREETING.as_bytes(), "the greeting")
}
