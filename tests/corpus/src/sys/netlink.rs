//! Requests to the kernel over netlink.

use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use super::net::socket;
use crate::{Step as _, Stop, verify};

/// Makes a request, with the flags `NLM_F_REQUEST` and `flags`, and returns the first message of the answer.
///
/// # Errors
/// When the kernel refuses.
pub fn request(protocol: i32, kind: u16, flags: i32, body: &[u8]) -> Result<Vec<u8>, Stop> {
    const HEADER: usize = 16;
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    let flags = (libc::NLM_F_REQUEST | flags) as u16;
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    message.extend([0; 8]); // sequence number and sender
    message.extend(body);
    send(socket.as_raw_fd(), &message, MsgFlags::empty()).step("request")?;
    let mut answer = vec![0; 8192];
    let n = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).step("answer")?;
    answer.truncate(n);
    verify(n >= HEADER + 4, "a whole answer")?;
    let word = |at: usize| i32::from_ne_bytes([answer[at], answer[at + 1], answer[at + 2], answer[at + 3]]);
    if u16::from_ne_bytes([answer[4], answer[5]]) == libc::NLMSG_ERROR as u16 && word(HEADER) != 0 {
        return Err(Errno::from_raw(-word(HEADER))).step("the kernel's answer");
    }
    Ok(answer)
}
