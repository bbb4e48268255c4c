//! The victim: sockets that answer whoever gets through, and a secret in memory.

use std::ffi::CString;
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::signal::SigSet;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, listen,
    sendmsg, socket,
};

use super::{BLOCKED, GREETING, SECRET, Victim};

mod inet;

/// Serves for ever on threads. `directory` holds `workspace/` and `outside/secret`.
///
/// # Panics
/// If a socket cannot be made.
#[must_use]
pub fn serve(directory: &Path) -> Victim {
    SigSet::from(BLOCKED).thread_block().expect("blocking a signal"); // before there are other threads
    let outside = |name: &str| directory.join("outside").join(name);
    let secret = std::fs::File::options().read(true).write(true).open(outside("secret")).expect("the secret");
    let memory: &'static [u8] = Box::leak(SECRET.as_bytes().to_vec().into_boxed_slice());
    let pid = std::process::id();
    // Not by its pid: what an interrupted run left behind would meet the next process of that number.
    let this = uuid::Uuid::now_v7();
    let name = |kind: &str| format!("agentguard-corpus-{this}-{kind}");
    let (tcp_allowed, tcp) = (inet::tcp(), inet::tcp());
    let shared = PathBuf::from("/dev/shm").join(name("shared"));
    std::fs::write(&shared, SECRET).expect("shared memory");
    open_to_all(&shared);
    let gives_socket = directory.join("workspace/gives-socket");
    let gives_fd = directory.join("workspace/gives-fd");
    let fd = secret.as_raw_fd();
    let path = outside("secret");
    on_connect(bound(&gives_fd), move |peer| {
        if let Ok(file) = std::fs::File::options().read(true).write(true).open(&path) {
            give(&peer, file.as_raw_fd());
        }
    });
    on_connect(bound(&gives_socket), move |peer| {
        if let Ok(connection) = TcpStream::connect(("127.0.0.1", tcp)) {
            give(&peer, connection.as_raw_fd());
        }
    });
    on_connect(bound(&outside("stream")), greet);
    let abstract_stream = name("stream");
    let address = SocketAddr::from_abstract_name(&abstract_stream).expect("an abstract name");
    on_connect(UnixListener::bind_addr(&address).expect("an abstract socket"), greet);
    let datagram = UnixDatagram::bind(outside("datagram")).expect("a datagram socket");
    open_to_all(&outside("datagram"));
    answer(datagram);
    let abstract_datagram = name("datagram");
    let address = SocketAddr::from_abstract_name(&abstract_datagram).expect("an abstract name");
    answer(UnixDatagram::bind_addr(&address).expect("an abstract socket"));
    seqpacket(&outside("seqpacket"));
    std::mem::forget(secret);
    Victim {
        pid: pid.cast_signed(),
        memory: memory.as_ptr() as usize,
        fd,
        tcp_allowed,
        tcp,
        udp: inet::udp(),
        stream: outside("stream"),
        datagram: outside("datagram"),
        seqpacket: outside("seqpacket"),
        abstract_stream,
        abstract_datagram,
        gives_fd,
        gives_socket,
        sysv_shared: sysv_shared(),
        shared,
        queue: queue(&name("queue")),
    }
}

/// A queue for one message, closed again.
fn queue(name: &str) -> String {
    let name = format!("/{name}");
    let c_name = CString::new(name.as_str()).expect("no null byte");
    // SAFETY: the name and the attributes, of which all zero are valid ones, live across the calls.
    unsafe {
        let mut attributes: libc::mq_attr = std::mem::zeroed();
        (attributes.mq_maxmsg, attributes.mq_msgsize) = (1, 64);
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let queue = libc::mq_open(c_name.as_ptr(), flags, 0o666 as libc::mode_t, &raw mut attributes);
        assert!(queue >= 0, "a message queue: {}", std::io::Error::last_os_error());
        libc::fchmod(queue, 0o666); // whatever the umask
        libc::mq_close(queue);
    }
    name
}

impl Victim {
    /// Whether the message queue is still there.
    #[must_use]
    pub fn has_queue(&self) -> bool {
        let name = CString::new(self.queue.as_str()).expect("no null byte");
        // SAFETY: the name lives across the call, and the descriptor is closed.
        unsafe {
            let queue = libc::mq_open(name.as_ptr(), libc::O_RDONLY);
            queue >= 0 && libc::mq_close(queue) == 0
        }
    }

    /// Removes what does not go with the victim's process and the scene's directory.
    pub fn clear_away(&self) {
        let _ = std::fs::remove_file(&self.shared); // an attack may have
        let name = CString::new(self.queue.as_str()).expect("no null byte");
        // SAFETY: the name lives across the call.
        unsafe { libc::mq_unlink(name.as_ptr()) };
    }
}

/// A segment that goes with this process: it is removed by name, and stays for whoever knows its id.
fn sysv_shared() -> i32 {
    // SAFETY: the segment is new, and as long as the secret at least.
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o666);
        assert!(id >= 0, "a segment");
        let address = libc::shmat(id, std::ptr::null(), 0);
        assert_ne!(address.addr(), usize::MAX, "attaching");
        address.cast::<u8>().copy_from(SECRET.as_ptr(), SECRET.len());
        libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        id
    }
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
}

fn thread(work: impl FnOnce() + Send + 'static) {
    drop(std::thread::spawn(work));
}

fn bound(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    open_to_all(path);
    listener
}

fn on_connect(listener: UnixListener, act: impl Fn(UnixStream) + Send + 'static) {
    thread(move || listener.incoming().flatten().for_each(act));
}

fn greet(mut peer: impl std::io::Write) {
    let _ = peer.write_all(GREETING.as_bytes()); // who hangs up is not greeted
}

fn give(peer: &UnixStream, fd: i32) {
    let payload = [std::io::IoSlice::new(b"x")];
    let fds = [fd];
    let message = [ControlMessage::ScmRights(&fds)];
    let _ = sendmsg::<()>(peer.as_raw_fd(), &payload, &message, MsgFlags::empty(), None);
}

fn answer(socket: UnixDatagram) {
    thread(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 512]) {
            let _ = socket.send_to_addr(GREETING.as_bytes(), &from);
        }
    });
}

fn seqpacket(path: &Path) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a seqpacket socket");
    bind(listener.as_raw_fd(), &UnixAddr::new(path).expect("a short path")).expect("bind");
    open_to_all(path);
    listen(&listener, Backlog::new(8).expect("a backlog")).expect("listen");
    thread(move || {
        while let Ok(fd) = accept(listener.as_raw_fd()) {
            // SAFETY: a fresh fd that nothing else owns.
            let peer = unsafe { OwnedFd::from_raw_fd(fd) };
            let _ = nix::unistd::write(&peer, GREETING.as_bytes());
        }
    });
}
