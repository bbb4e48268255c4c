//! The daemon's control socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;

use crate::{Scene, Step as _, Stop, verify};

/// Sends a request and verifies that the daemon answers with `status`.
///
/// # Errors
/// `EPERM` when the daemon refuses.
pub fn ask(scene: &Scene, head: &str, body: &str, status: u16) -> Result<(), Stop> {
    let mut socket = UnixStream::connect(&scene.guard.control).step("connecting")?;
    let length = body.len();
    let tail = format!("Host: agentguard\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    match socket.write_all(format!("{head}{tail}").as_bytes()) {
        // Who is refused may be answered before all of it is written.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.step("asking")?,
    }
    let mut answer = String::new();
    socket.read_to_string(&mut answer).step("reading the answer")?;
    if answer.starts_with("HTTP/1.1 403") {
        return Err(Errno::EPERM).step("the daemon's answer");
    }
    verify(answer.starts_with(&format!("HTTP/1.1 {status}")), "the daemon's answer")
}
