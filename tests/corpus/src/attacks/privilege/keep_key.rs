use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys, verify};

pub(crate) const ATTACK: Attack = Attack {
    name: "keep-key",
    group: Group::Privilege,
    tries: "Keep data in a key ring of the kernel",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict the key rings of the kernel"),
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let secret = *b"secret";
    let process = -2_isize as usize; // a key ring that goes with the process
    let (kind, name) = (c"user".as_ptr().addr(), c"agentguard-corpus".as_ptr().addr());
    sys::in_child(|| {
        let mut read = [0_u8; 6];
        // SAFETY: every pointer is to what the call wants, and lives across it.
        unsafe {
            let arguments = [kind, name, secret.as_ptr().addr(), secret.len(), process, 0];
            let key = sys::call(libc::SYS_add_key, arguments).step("add_key")? as usize;
            let arguments = [11, key, read.as_mut_ptr().addr(), read.len(), 0, 0];
            sys::call(libc::SYS_keyctl, arguments).step("reading it")?;
        }
        verify(std::hint::black_box(read) == secret, "reading it")
    })
}
