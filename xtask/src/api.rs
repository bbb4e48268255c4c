//! Fuzzing the control socket against its own OpenAPI document, with Schemathesis.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// The newest that was tried.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// How long the daemon may take to start.
const START: Duration = Duration::from_secs(30);
/// Answers that take longer are a hang.
const ANSWER_S: &str = "20";

/// A process that ends with this.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").arg(pid).status(); // in order, so that nothing stays pinned
        let _ = self.0.wait();
    }
}

fn tool(venv: &Path) -> Result<std::path::PathBuf> {
    let program = venv.join("bin/schemathesis");
    if !program.exists() {
        crate::setup::ensure_api_fuzzing()?;
        crate::run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
        crate::run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", SCHEMATHESIS]))?;
    }
    Ok(program)
}

/// Starts a daemon of its own and a bridge to it, and lets Schemathesis look for answers of the kind 5xx and for hangs.
///
/// Each connection of the bridge is a process of its own, since a request may turn its sender into an agent. The stream of
/// events has no end and is left out.
pub(crate) fn fuzz(binary: &Path, examples: u32) -> Result<()> {
    let program = tool(&crate::root().join("target/schemathesis"))?;
    let dir = Path::new("/var/tmp").join(format!("agentguard-api-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let fuzzed = run(binary, &program, &dir, examples);
    std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    fuzzed
}

fn run(binary: &Path, program: &Path, dir: &Path, examples: u32) -> Result<()> {
    let socket = dir.join("control.sock");
    let pins = Path::new("/sys/fs/bpf").join(dir.file_name().unwrap_or_default());
    let mut daemon = Command::new(binary);
    daemon.arg("--socket").arg(&socket).arg("--event-log").arg(dir.join("events.jsonl"));
    daemon.arg("--state").arg(dir.join("state.db")).arg("--pins").arg(&pins).arg("daemon");
    let mut daemon = Owned(daemon.stdin(Stdio::null()).spawn().context("starting the daemon")?);
    let give_up = Instant::now() + START;
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        ensure!(daemon.0.try_wait()?.is_none() && Instant::now() < give_up, "the daemon did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut bridge = Command::new("socat");
    bridge.arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"));
    bridge.arg(format!("UNIX-CONNECT:{}", socket.display()));
    let bridge = Owned(bridge.stderr(Stdio::null()).spawn().context("starting socat")?);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(Instant::now() < give_up, "socat did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut fuzz = Command::new(program);
    fuzz.args(["run", "--checks", "not_a_server_error", "--request-timeout", ANSWER_S, "--no-color"]);
    fuzz.args([
        "--max-examples",
        &examples.to_string(),
        "--exclude-path",
        "/v1/events",
        "--suppress-health-check",
        "all",
    ]);
    fuzz.arg(format!("http://127.0.0.1:{port}/openapi.json"));
    let status = fuzz.current_dir(dir).status().context("starting Schemathesis")?;
    drop(bridge);
    ensure!(daemon.0.try_wait()?.is_none(), "the daemon ended");
    if !status.success() {
        bail!("Schemathesis found something ({status})");
    }
    let mut answers = std::os::unix::net::UnixStream::connect(&socket).context("the daemon afterwards")?;
    use std::io::{Read as _, Write as _};
    answers.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    answers.read_to_string(&mut text)?;
    ensure!(text.starts_with("HTTP/1.1 200"), "the daemon's status afterwards: {text}");
    Ok(())
}
