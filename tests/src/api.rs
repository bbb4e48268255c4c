//! The control socket without a client of AgentGuard's own.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

/// A connection for one call.
#[derive(Debug)]
pub struct Call(UnixStream);

impl Call {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        Self(UnixStream::connect(socket).unwrap_or_else(|e| panic!("{}: {e}", socket.display())))
    }

    /// Posts `body` and returns the answer.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn post(self, path: &str, body: &str) -> Result<Value, String> {
        self.ask("POST", path, body)
    }

    /// Sends a request and returns the answer.
    ///
    /// # Errors
    /// The answer, when it is a refusal.
    ///
    /// # Panics
    /// If the daemon hangs up before it has answered.
    pub fn ask(mut self, method: &str, path: &str, body: &str) -> Result<Value, String> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: agentguard\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).expect("sending a request");
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).expect("reading an answer");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        match serde_json::from_str(body) {
            Ok(value) if answer.starts_with("HTTP/1.1 200") => Ok(value),
            _ => Err(answer),
        }
    }
}
