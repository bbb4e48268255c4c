use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "file-passed",
    group: Group::Files,
    tries: "Receive a descriptor of a file from another process",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict descriptors that come from another process"),
    recorded: Recorded::As(&["use"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let socket = UnixStream::connect(&scene.victim.gives_fd).step("connecting")?;
    let (mut byte, mut space) = ([0], nix::cmsg_space!(RawFd));
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags).step("receiving")?;
    // A descriptor that the receiver may not have is left out, and the message marked as cut short.
    let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().into_iter().flatten().next() else {
        return Err(Errno::EACCES).step("the descriptor did not arrive");
    };
    // SAFETY: a fresh fd that nothing else owns.
    let file = unsafe { File::from_raw_fd(fds[0]) };
    let mut bytes = vec![0; 64];
    let len = file.read_at(&mut bytes, 0).step("reading")?;
    scene.is_secret(&bytes[..len])
}
