//! Authority ends when its time is over or when somebody takes it away, and what is in use goes with it.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use agentguard_tests::agent::{PYTHON, Running};
use agentguard_tests::level::skipped_unless;
use agentguard_tests::loopback::{Listener, await_readable, unacknowledged};
use agentguard_tests::{Level, Policy, Site};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

fn loopback_policy(site: &Site) -> Policy {
    let rest = r"
  network:
    - allow: [connect]
      to: [loopback]
";
    site.policy("loopback", "", rest)
}

/// Sends one datagram after the other until two are refused, then ends, or waits for its own (`killed`). Two: the time
/// may be over between a request that was allowed and its packet, which is then cut without a record.
const UNTIL_REFUSED: &str = r"
import os, signal, socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.sendto(b'x', ('127.0.0.1', 9))
print('at work', flush=True)
refusals = []
while len(refusals) < 2:
    try:
        sender.sendto(b'x', ('127.0.0.1', 9))
        time.sleep(0.01)
    except PermissionError as e:
        refusals.append(e.errno)
while sys.argv[1] == 'killed':
    signal.pause()
os._exit(refusals[0])
";

/// The agent that does so.
fn until_refused(agent: agentguard_tests::agent::Agent<'_>) -> Running {
    let end = if Level::expected() == Level::Compat { "killed" } else { "ends" };
    agent.spawn([PYTHON, "-c", UNTIL_REFUSED, end])
}

/// Waits until the agent is killed (level `compat`) or has ended because of a refusal (level `lsm`).
fn await_the_end_of_authority(agent: Running) {
    let (status, output) = agent.finish();
    match Level::expected() {
        Level::Compat => assert_eq!(status.signal(), Some(libc::SIGKILL), "{output}"),
        Level::Lsm => assert_eq!(status.code(), Some(libc::EPERM), "{output}"),
    }
}

#[test]
fn an_invocation_ends_with_its_time_to_live() {
    let site = Site::served();
    // Time enough to start: a guest without hardware virtualisation is slow.
    let ttl = if Level::expected() == Level::Lsm { "20s" } else { "1s" };
    let agent = site.agent(loopback_policy(&site)).options(&["--ttl", ttl]);
    let agent = until_refused(agent);
    let id = agent.invocation();
    await_the_end_of_authority(agent);
    let event = site.log().lifecycle(&id, "expire");
    assert_eq!((event.text("/decision"), event.text("/reason")), ("deny", "expired"), "{event}");
    if Level::expected() == Level::Lsm {
        assert_eq!(site.log().denial(&id, "connect", "127.0.0.1:9").text("/reason"), "expired");
    }
}

#[test]
fn the_policy_bounds_the_time_to_live() {
    let site = Site::served();
    let policy = site.policy("short", "", "  ttl: 90s");
    let agent = site.agent(&policy).options(&["--ttl", "8h"]);
    let agent = agent.spawn_on(Stdio::piped(), &["/usr/bin/cat"]);
    let id = agent.invocation();
    let left = listed(&site, &id)["expires_in_s"].as_u64().expect("it expires");
    assert!(left <= 90, "{left} s left");
}

/// The line of `ps --json` for an invocation.
fn listed(site: &Site, id: &str) -> serde_json::Value {
    let text = site.call(&["ps", "--json"]).success().stdout;
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("ps --json is JSON");
    let found = all.into_iter().find(|i| i["invocation"] == id);
    found.unwrap_or_else(|| panic!("{id} is not listed:\n{text}"))
}

/// An agent that waits for input that never comes.
fn waiting(site: &Site, policy: &Policy, agent: &str, principal: &str) -> (String, Running) {
    let options = ["--agent", agent, "--principal", principal];
    let running = site.agent(policy).options(&options).spawn_on(Stdio::piped(), &["/usr/bin/cat"]);
    (running.invocation(), running)
}

#[test]
fn revoke_takes_whom_it_names() {
    let site = Site::new();
    let _daemon = site.daemon();
    let policy = site.policy("idle", "", "");
    let runs = [("one", "svc:a"), ("two", "svc:a"), ("two", "svc:b"), ("three", "svc:c"), ("four", "svc:d")];
    let (ids, mut agents): (Vec<_>, Vec<_>) =
        runs.iter().map(|(agent, principal)| waiting(&site, &policy, agent, principal)).unzip();
    agents.reverse();
    let selectors: [(&[&str], &[usize]); 4] = [
        (&[&ids[0]], &[0]),
        (&["--agent", "two"], &[1, 2]),
        (&["--principal", "svc:c"], &[3]),
        (&["--all"], &[4]),
    ];
    for (selector, hit) in selectors {
        let run = site.call(&[&["revoke", "--kill"], selector].concat()).success();
        let revoked: Vec<_> = run.stdout.lines().filter_map(|l| l.strip_prefix("revoked ")).collect();
        let mut want: Vec<_> = hit.iter().map(|i| ids[*i].as_str()).collect();
        want.sort_unstable();
        assert_eq!(revoked, want, "{run}");
        for i in hit {
            let (status, output) = agents.pop().expect("one agent each").finish();
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{output}");
            let event = site.log().lifecycle(&ids[*i], "revoke");
            assert_eq!((event.text("/decision"), event.text("/reason")), ("deny", "revoked"), "{event}");
            assert_eq!(event.text("/principal"), runs[*i].1);
        }
        for left in &ids[ids.len() - agents.len()..] {
            assert_eq!(listed(&site, left)["state"], "active");
        }
    }
    let again = site.call(&["revoke", &ids[0]]).failure();
    assert!(again.stderr.contains("no active invocation matches"), "{again}");
}

#[test]
fn revoke_says_how_long_it_took() {
    let site = Site::served();
    let (id, agent) = waiting(&site, &site.policy("idle", "", ""), "idle", "svc:a");
    let run = site.call(&["revoke", "--kill", &id]).success();
    assert_eq!(agent.finish().0.signal(), Some(libc::SIGKILL));
    let sentence = run.stdout.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = sentence.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [refused_us, killed, gone_us] = numbers[..] else { panic!("not three numbers: {sentence:?}") };
    assert!(killed == 1.0 && refused_us <= gone_us, "{sentence}");
    println!("{sentence}");
}

#[test]
fn a_process_whose_first_thread_is_gone_is_killed_too() {
    let site = Site::served();
    let script = r"
import ctypes, threading, time
def outlive():
    while open('/proc/self/stat').read().split(') ')[1][0] != 'Z':
        time.sleep(0.001)
    print('alone', flush=True)
    time.sleep(100000)
threading.Thread(target=outlive).start()
ctypes.CDLL(None).syscall(60, 0)  # exit(2), which ends the calling thread only
";
    let agent = site.agent(site.policy("idle", "", "")).spawn([PYTHON, "-c", script]);
    agent.await_line("alone");
    let run = site.call(&["revoke", "--kill", &agent.invocation()]).success();
    assert!(run.stdout.contains("1 processes killed"), "{run}");
    assert_eq!(agent.finish().0.signal(), Some(libc::SIGKILL));
}

/// Takes a file descriptor out of a message.
fn received(socket: &UnixStream) -> OwnedFd {
    await_readable(socket);
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
    let message = message.expect("recvmsg");
    let fd = message.cmsgs().expect("control messages").find_map(|c| match c {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the message made a fresh fd that nothing else owns.
    unsafe { OwnedFd::from_raw_fd(fd.expect("a file descriptor came")) }
}

/// An agent's open connection, of which this process holds a copy, so that it outlives the agent.
struct Connection {
    agent: Running,
    ours: TcpStream,
    peer: TcpStream,
}

fn connection(site: &Site) -> Connection {
    let listener = Listener::on("127.0.0.1");
    let (here, there) = UnixStream::pair().expect("socketpair");
    let script = format!(
        "import socket\nout = socket.create_connection(('127.0.0.1', {}))\nhere = socket.socket(fileno=0)\n\
         socket.send_fds(here, [b'x'], [out.fileno()])\nhere.recv(1)",
        listener.port()
    );
    let agent = site.agent(loopback_policy(site)).spawn_on(OwnedFd::from(there), &[PYTHON, "-c", &script]);
    let peer = listener.accept();
    let ours = TcpStream::from(received(&here));
    std::mem::forget(here); // the agent waits for its end of file as long as the test runs
    Connection { agent, ours, peer }
}

#[test]
fn packets_of_a_revoked_agent_are_cut() {
    let site = Site::served();
    let mut c = connection(&site);
    c.ours.write_all(b"before").expect("write");
    assert_eq!(unacknowledged(&c.ours), 0);
    let mut buffer = [0; 16];
    assert_eq!(c.peer.read(&mut buffer).expect("read"), 6);

    let id = c.agent.invocation();
    let _revoked = site.call(&["revoke", &id]).success();
    c.ours.write_all(b"after").expect("the write itself only fills a buffer");
    assert_eq!(unacknowledged(&c.ours), 5, "the packet went out");
    c.peer.set_nonblocking(true).expect("non-blocking");
    let error = c.peer.read(&mut buffer).expect_err("nothing arrives, not even the end of the stream");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    if Level::expected() == Level::Compat {
        assert_eq!(c.agent.finish().0.signal(), Some(libc::SIGKILL));
    }
}

#[test]
fn nothing_is_delivered_to_a_revoked_agent() {
    let site = Site::served();
    let mut c = connection(&site);
    c.peer.write_all(b"before").expect("write");
    let mut buffer = [0; 16];
    assert_eq!(c.ours.read(&mut buffer).expect("read"), 6);

    let _revoked = site.call(&["revoke", &c.agent.invocation()]).success();
    c.peer.write_all(b"after").expect("the write itself only fills a buffer");
    assert_eq!(unacknowledged(&c.peer), 5, "the packet was taken");
    c.ours.set_nonblocking(true).expect("non-blocking");
    let error = c.ours.read(&mut buffer).expect_err("nothing arrives");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_revoked_agent_that_lives_on_is_refused() {
    let why = "at level compat a revoked agent is killed";
    if skipped_unless(Level::Lsm, "a_revoked_agent_that_lives_on_is_refused", why) {
        return;
    }
    let site = Site::served();
    let agent = until_refused(site.agent(loopback_policy(&site)));
    agent.await_line("at work");
    let id = agent.invocation();
    let _revoked = site.call(&["revoke", &id]).success();
    await_the_end_of_authority(agent);
    assert_eq!(site.log().denial(&id, "connect", "127.0.0.1:9").text("/reason"), "revoked");
}

#[test]
fn what_an_agent_sent_before_it_ended_arrives() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    // More than the receiver's window: most of it is still on its way when the agent is gone.
    let script = format!(
        "import socket\nout = socket.socket()\nout.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)\n\
         out.connect(('127.0.0.1', {}))\nout.setblocking(False)\nprint(out.send(b'x' * (1 << 24)))",
        listener.port()
    );
    let run = site.agent(loopback_policy(&site)).python(&script).success();
    site.log().until_end(&run.invocation());
    let mut peer = listener.accept();
    peer.set_read_timeout(Some(agentguard_tests::level::deadline())).expect("timeout");
    let mut all = Vec::new();
    peer.read_to_end(&mut all).expect("everything arrives, then the end of the stream");
    assert_eq!(all.len().to_string(), run.stdout.trim());
}
