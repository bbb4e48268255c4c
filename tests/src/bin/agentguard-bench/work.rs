//! The measured system calls.

use std::ffi::CString;
use std::io::{Error, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Instant;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

pub(super) const DIRECTORY: &str = "/tmp/agb.d";
/// Files with 2, 6 and 12 path components.
pub(super) const OPENED: [&str; 3] =
    ["/tmp/agb", "/tmp/agb.d/d3/d4/d5/f", "/tmp/agb.d/d3/d4/d5/d6/d7/d8/d9/d10/d11/f"];
/// A file that the policy denies.
pub(super) const SECRET: &str = "/tmp/agb.secret";
pub(super) const TINY: &str = "/tmp/agb.d/true";
pub(super) const PROGRAM: &str = "/tmp/agb.d/agentguard-bench";
/// Discard: nobody listens.
const CLOSED_PORT: u16 = 9;
const LISTENING_PORT: u16 = 7777;
/// Nobody listens, and the policy denies it.
const DENIED_PORT: u16 = 4444;

/// What a line is about.
pub(super) struct Label<'s> {
    pub(super) condition: &'s str,
    pub(super) round: &'s str,
}

/// How one operation ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    /// Refused by permission.
    Denied,
}

/// An operation, repeated `operations` times in each of `chunks` measurements.
struct Test<'f> {
    name: &'static str,
    chunks: u32,
    operations: u32,
    /// Whether the policy of tagged tasks denies it.
    forbidden: bool,
    operation: Box<dyn Fn() -> Ended + 'f>,
}

/// Runs every test and prints a line for each.
pub(super) fn run(label: &Label<'_>, scale_percent: u32) {
    stay_on_last_processor();
    let paths = OPENED.map(|path| CString::new(path).expect("no null byte"));
    let [two, six, twelve] = paths.each_ref();
    let secret = CString::new(SECRET).expect("no null byte");
    let tiny = CString::new(TINY).expect("no null byte");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, LISTENING_PORT)).expect("listening");
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, LISTENING_PORT)).expect("bound");
    let tests = [
        Test::new("open2", 21, 1000, || open(two)),
        Test::new("open6", 21, 1000, || open(six)),
        Test::new("open12", 21, 1000, || open(twelve)),
        Test::new("connect-closed", 15, 200, || connected(CLOSED_PORT, None)),
        Test::new("connect-accept", 15, 120, || connected(LISTENING_PORT, Some(&listener))),
        Test::new("sendto", 15, 1000, || sent(&datagrams)),
        Test::new("fork-exec", 15, 20, || executed(&tiny)),
        Test::new("open-denied", 11, 200, || open(&secret)).forbidden(),
        Test::new("connect-denied", 11, 200, || connected(DENIED_PORT, None)).forbidden(),
    ];
    for test in tests {
        test.measure(label, scale_percent);
    }
}

impl<'f> Test<'f> {
    fn new(name: &'static str, chunks: u32, operations: u32, operation: impl Fn() -> Ended + 'f) -> Self {
        Self { name, chunks, operations, forbidden: false, operation: Box::new(operation) }
    }

    fn forbidden(self) -> Self {
        Self { forbidden: true, ..self }
    }

    fn measure(&self, label: &Label<'_>, scale_percent: u32) {
        let operations = (self.operations * scale_percent / 100).max(1);
        let expected =
            if self.forbidden && label.condition == "tagged" { Ended::Denied } else { Ended::Done };
        let chunk = |operations: u32| {
            let start = Instant::now();
            let expectations_met = (0..operations).all(|_| (self.operation)() == expected);
            let elapsed = start.elapsed().as_nanos();
            assert!(expectations_met, "{} while {}: not decided as expected", self.name, label.condition);
            elapsed as f64 / f64::from(operations)
        };
        chunk(operations.div_ceil(4)); // warms caches up
        let mut measured: Vec<f64> = (0..self.chunks).map(|_| chunk(operations)).collect();
        measured.sort_by(f64::total_cmp);
        let line = format!(
            "{{\"condition\":\"{}\",\"round\":{},\"test\":\"{}\",\"chunks\":{},\"operations\":{operations},\
             \"least_ns\":{:.1},\"median_ns\":{:.1}}}\n",
            label.condition,
            label.round,
            self.name,
            self.chunks,
            measured[0],
            measured[measured.len() / 2]
        );
        std::io::stdout().write_all(line.as_bytes()).expect("standard output");
    }
}

fn stay_on_last_processor() {
    let last = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
    let mut set = CpuSet::new();
    set.set(last).expect("a processor that exists");
    sched_setaffinity(Pid::from_raw(0), &set).expect("sched_setaffinity");
}

fn denied_or_panic(what: &str, error: &Error) -> Ended {
    assert!(matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)), "{what}: {error}");
    Ended::Denied
}

/// Opens and closes.
fn open(path: &CString) -> Ended {
    // SAFETY: a string that ends in a null byte.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return denied_or_panic("open", &Error::last_os_error());
    }
    // SAFETY: a fresh fd that nothing else owns.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ended::Done
}

/// Makes a socket, connects and closes; a refusal by the other side counts as done.
fn connected(port: u16, listener: Option<&TcpListener>) -> Ended {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("socket");
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    match connect(socket.as_raw_fd(), &address) {
        Err(nix::errno::Errno::ECONNREFUSED) if listener.is_none() => return Ended::Done,
        Err(error) => return denied_or_panic("connect", &error.into()),
        Ok(()) => {}
    }
    // Closed by reset, so that no connection lingers in the kernel and makes later ones dearer.
    let reset = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&socket.as_fd(), sockopt::Linger, &reset).expect("SO_LINGER");
    let listener = listener.expect("only the listening port answers");
    drop(listener.accept().expect("accept"));
    Ended::Done
}

/// Sends a datagram to itself, by address, and takes it.
fn sent(socket: &UdpSocket) -> Ended {
    let mut byte = [0];
    let to = socket.local_addr().expect("bound");
    match socket.send_to(&byte, to) {
        Err(error) => denied_or_panic("sendto", &error),
        Ok(_) => {
            socket.recv_from(&mut byte).expect("the datagram");
            Ended::Done
        }
    }
}

/// Forks; the child executes `program`; waits for its end.
fn executed(program: &CString) -> Ended {
    let argv = [program.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // SAFETY: this process has one thread, and the child only makes system calls.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            // SAFETY: both arrays end in null, and the strings in a null byte.
            unsafe {
                libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr());
                libc::_exit(127)
            }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).expect("waitpid");
            assert_eq!(status, WaitStatus::Exited(child, 0), "the tiny program");
            Ended::Done
        }
    }
}
