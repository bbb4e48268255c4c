//! What an agent has open is of no use to it any more once its authority ends (level `lsm`; at `compat` it is killed).

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use agentguard_tests::agent::{PYTHON, Running};
use agentguard_tests::events::Event;
use agentguard_tests::level::{deadline, skipped_unless};
use agentguard_tests::loopback::Listener;
use agentguard_tests::{Level, Policy, Site};

const KILLED: &str = "at level compat an agent whose authority ends is killed";
/// An agent's exit status when all went as the test wants.
const AS_WANTED: i32 = 42;

fn policy(site: &Site, mode: &str) -> Policy {
    let files = format!(
        "    - allow: [read, write, create, delete]\n      paths: [\"{0}\", \"{0}/**\"]\n",
        site.at("workspace")
    );
    let rest = format!("  mode: {mode}\n  network:\n    - allow: [connect]\n      to: [loopback]\n");
    site.policy(mode, &files, &rest)
}

/// Opens everything there is, uses it, waits until it can't read a file any more, and tries to use the rest again, and to
/// make sockets. What came of that it writes to memory that it mapped before: it has no other way left.
const USER: &str = r"
import errno, fcntl, mmap, os, socket, sys, time
work, port = sys.argv[1], int(sys.argv[2])
page = mmap.mmap(os.open(work + '/report', os.O_RDWR), 4096)
data = os.open(work + '/data', os.O_RDWR)
other = os.open(work + '/other', os.O_RDWR)
directory = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
reader, writer = os.pipe()
os.write(writer, b'queued')
here, there = socket.socketpair()
there.send(b'queued')
tcp = socket.create_connection(('127.0.0.1', port))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(('127.0.0.1', 9))
listener = socket.socket(socket.AF_UNIX)
listener.bind(work + '/own.sock')
listener.listen()
clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
for client in clients:
    client.connect(work + '/own.sock')
timer = os.eventfd(5)
uses = {
    'read': lambda: os.pread(data, 1, 0),
    'write': lambda: os.pwrite(data, b'x', 0),
    'list': lambda: os.listdir(directory),
    'copy': lambda: os.copy_file_range(data, other, 1, 0, 0),
    'send-file': lambda: os.sendfile(writer, data, 0, 1),
    'allocate': lambda: os.posix_fallocate(data, 0, 1),
    'map': lambda: mmap.mmap(data, 1),
    'lock': lambda: fcntl.flock(data, fcntl.LOCK_SH),
    'flags': lambda: fcntl.fcntl(data, fcntl.F_SETFL, 0),
    'control': lambda: fcntl.ioctl(reader, 0x541b, bytes(4)),
    'pipe-read': lambda: os.read(reader, 1),
    'pipe-write': lambda: os.write(writer, b'x'),
    'event-write': lambda: os.eventfd_write(timer, 1),
    'unix-receive': lambda: here.recv(1),
    'unix-send': lambda: here.send(b'x'),
    'unix-pass': lambda: socket.send_fds(here, [b'x'], [data]),
    'unix-accept': lambda: listener.accept(),
    'tcp-receive': lambda: tcp.recv(1),
    'tcp-read': lambda: os.read(tcp.fileno(), 1),
    'tcp-send': lambda: tcp.send(b'x'),
    'tcp-option': lambda: tcp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
    'udp-send': lambda: udp.send(b'x'),
    'udp-send-to': lambda: udp.sendto(b'x', ('127.0.0.1', 9)),
    'new-tcp': lambda: socket.socket(socket.AF_INET),
    'new-unix': lambda: socket.socket(socket.AF_UNIX),
    'new-pair': lambda: socket.socketpair(),
    'new-netlink': lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
}
def outcome(use):
    try:
        use()
        return 'done'
    except OSError as e:
        return errno.errorcode[e.errno]
first = {name: outcome(use) for name, use in uses.items()}
failed = [name for name in uses if first[name] not in ('done', 'ECONNREFUSED')]
print('failed', failed, flush=True)
while outcome(uses['read']) == 'done':
    time.sleep(0.001)
fcntl.flock(data, fcntl.LOCK_UN)
os.close(other)
again = ' '.join(name + '=' + outcome(use) for name, use in uses.items() if name != 'copy')
page[:len(again)] = again.encode()
os._exit(42)
";

/// What the agent's every use came to.
fn report(site: &Site) -> Vec<(String, String)> {
    let bytes = std::fs::read(site.path("workspace/report")).expect("the report");
    let text = String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned();
    let pairs = text.split_whitespace().filter_map(|part| part.split_once('='));
    pairs.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect()
}

fn is_use(event: &Event, object: &str, access: &str) -> bool {
    let accesses = event.0["access"].as_array();
    event.text("/action") == "use"
        && event.text("/object") == object
        && accesses.is_some_and(|all| all.iter().any(|a| a == access))
}

/// Runs the agent, ends its authority with `end`, and checks that nothing was of use to it afterwards.
fn refused_once(mode: &str, options: &[&str], reason: &str, end: impl FnOnce(&Site, &str)) {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    site.file("workspace/report", &"\0".repeat(4096));
    for file in ["workspace/data", "workspace/other"] {
        let path = site.file(file, "some text");
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("chmod");
    }
    let (work, port) = (site.at("workspace"), listener.port().to_string());
    let agent = site.agent(policy(&site, mode)).options(options);
    let agent = agent.spawn([PYTHON, "-c", USER, &work, &port]);
    let mut peer = listener.accept();
    peer.write_all(&[b'x'; 64]).expect("what the agent receives before and would after");
    agent.await_line("failed []");
    let id = agent.invocation();
    end(&site, &id);
    let (status, output) = agent.finish();
    assert_eq!(status.code(), Some(AS_WANTED), "{output}");
    let report = report(&site);
    assert!(report.len() > 20, "{report:?}");
    for (name, outcome) in &report {
        assert!(matches!(outcome.as_str(), "EACCES" | "EPERM"), "{name}: {outcome} in {report:?}");
    }
    // Nobody else is any the worse for it.
    peer.write_all(b"x").expect("the other end is its owner's");
    assert!(std::fs::read_to_string(site.path("workspace/data")).expect("the file").ends_with("ome text"));

    let events = site.log().until_end(&id);
    let connection = format!("127.0.0.1:{port}");
    let data = site.at("workspace/data");
    let objects =
        [(data.as_str(), "read"), (&data, "write"), (&work, "read"), ("pipe", "read"), ("pipe", "write")];
    let sockets =
        [("unix socket", "read"), ("unix socket", "write"), (&connection, "read"), (&connection, "write")];
    for (object, access) in objects.into_iter().chain(sockets) {
        let event = events.iter().find(|e| is_use(e, object, access));
        let event = event.unwrap_or_else(|| panic!("no record of {access} of {object}: {events:#?}"));
        assert_eq!((event.text("/decision"), event.text("/reason")), ("deny", reason), "{event}");
        assert!(event.number("/detail/times").is_some(), "{event}");
    }
    for family in [libc::AF_INET, libc::AF_UNIX, libc::AF_NETLINK] {
        let made = |e: &&Event| e.text("/object").starts_with(&format!("family {family} "));
        let event = events.iter().filter(|e| e.text("/action") == "socket").find(made);
        let event = event.unwrap_or_else(|| panic!("no record of a socket of family {family}: {events:#?}"));
        assert_eq!((event.text("/decision"), event.text("/reason")), ("deny", reason), "{event}");
    }
}

#[test]
fn what_a_revoked_agent_has_open_is_refused() {
    if skipped_unless(Level::Lsm, "what_a_revoked_agent_has_open_is_refused", KILLED) {
        return;
    }
    refused_once("enforce", &[], "revoked", |site, id| {
        let _revoked = site.call(&["revoke", id]).success();
    });
}

#[test]
fn what_an_expired_agent_has_open_is_refused_in_audit_mode_too() {
    if skipped_unless(Level::Lsm, "what_an_expired_agent_has_open_is_refused_in_audit_mode_too", KILLED) {
        return;
    }
    refused_once("audit", &["--ttl", "40s"], "expired", |_, _| ());
}

/// Waits until the agent waits in `read(0, …)`.
fn await_read_of_stdin(agent: &Running) {
    let give_up = std::time::Instant::now() + deadline();
    let call = format!("/proc/{}/syscall", agent.process.pid());
    while !std::fs::read_to_string(&call).unwrap_or_default().starts_with("0 0x0 ") {
        assert!(std::time::Instant::now() < give_up, "the agent does not read");
        std::thread::sleep(std::time::Duration::from_millis(1)); // nobody tells when a task begins to wait
    }
}

#[test]
fn a_read_that_waits_when_its_agent_is_revoked_gets_nothing() {
    if skipped_unless(Level::Lsm, "a_read_that_waits_when_its_agent_is_revoked_gets_nothing", KILLED) {
        return;
    }
    let site = Site::served();
    let (mut here, there) = UnixStream::pair().expect("socketpair");
    waiting_read(&site, OwnedFd::from(there), || here.write_all(b"x"));
    let (pipe, mut writer) = std::io::pipe().expect("pipe");
    waiting_read(&site, OwnedFd::from(pipe), || writer.write_all(b"x"));
}

/// Revokes an agent that waits for something to read on `stdin`, then lets it come.
fn waiting_read(site: &Site, stdin: OwnedFd, come: impl FnOnce() -> std::io::Result<()>) {
    let script =
        "import os\ntry:\n    os.read(0, 1)\n    os._exit(1)\nexcept PermissionError:\n    os._exit(42)";
    let agent = site.agent(policy(site, "enforce")).spawn_on(stdin, &[PYTHON, "-c", script]);
    let id = agent.invocation();
    await_read_of_stdin(&agent);
    let _revoked = site.call(&["revoke", &id]).success();
    let _ = come(); // fails where the agent has ended already
    let (status, output) = agent.finish();
    assert_eq!(status.code(), Some(AS_WANTED), "{output}");
}

#[test]
fn an_agent_that_insists_does_not_fill_the_log() {
    const TRIES: u64 = 100_000;
    if skipped_unless(Level::Lsm, "an_agent_that_insists_does_not_fill_the_log", KILLED) {
        return;
    }
    let script = format!(
        "import os, time\nreader, writer = os.pipe()\nos.set_blocking(reader, False)\nprint('ready', flush=True)\n\
         refused = 0\nwhile refused < {TRIES}:\n    try:\n        os.read(reader, 1)\n\
         \x20   except BlockingIOError:\n        time.sleep(0.001)\n    except PermissionError:\n        refused += 1\n\
         os._exit(42)"
    );
    let site = Site::served();
    let agent = site.agent(policy(&site, "enforce")).spawn([PYTHON, "-c", &script]);
    agent.await_line("ready");
    let id = agent.invocation();
    let _revoked = site.call(&["revoke", &id]).success();
    let (status, output) = agent.finish();
    assert_eq!(status.code(), Some(AS_WANTED), "{output}");
    let events = site.log().until_end(&id);
    let times: Vec<u64> = events
        .iter()
        .filter(|e| is_use(e, "pipe", "read"))
        .filter_map(|e| e.number("/detail/times"))
        .collect();
    let powers: Vec<u64> = (0..64).map(|n| 1u64 << n).take_while(|n| *n <= TRIES).collect();
    assert_eq!(times, powers, "the first, the second, the fourth, the eighth …");
    let end = site.log().lifecycle(&id, "end");
    assert!(end.number("/detail/denied").is_some_and(|n| n >= TRIES), "{end}");
}

#[test]
fn open_files_are_checked_only_while_an_agent_lives() {
    if skipped_unless(Level::Lsm, "open_files_are_checked_only_while_an_agent_lives", "only there they are") {
        return;
    }
    let site = Site::new();
    let daemon = site.daemon();
    let attached = || site.attached("open_permission") && site.attached("file_open");
    site.until_quiet(); // the daemon tries what it attaches, once
    let agent =
        site.agent(policy(&site, "enforce")).spawn_on(std::process::Stdio::piped(), &["/usr/bin/cat"]);
    let id = agent.invocation();
    assert!(attached(), "nothing was attached for the agent");
    let _revoked = site.call(&["revoke", &id]).success();
    let _ = agent.finish();
    site.log().until_end(&id);
    site.until_quiet();
    // Also at once: the kernel is still about to detach.
    let next = site.agent(policy(&site, "enforce")).run(["/usr/bin/true"]).success();
    assert!(attached(), "nothing was attached for the next agent");
    site.log().until_end(&next.invocation());
    daemon.stop(&site, libc::SIGTERM);
}
