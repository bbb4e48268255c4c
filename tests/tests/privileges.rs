//! Reach beyond files and addresses: a root agent is refused what no policy grants it by name.

use agentguard_tests::Site;
use agentguard_tests::level::Level;

/// How level `compat` keeps an operation away, if it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compat {
    Refused,
    /// Listed in the level table as not restricted.
    Open,
}

/// An attempt: its name, the Python that makes it, and where its refusal is recorded at level `lsm`.
type Attempt = (&'static str, &'static str, (&'static str, &'static str), Compat);

const ATTEMPTS: &[Attempt] = &[
    ("mount", "do(libc.mount(b'none', b'/mnt', b'tmpfs', 0, None))", ("privilege", "mount"), Compat::Refused),
    ("chroot", "os.chroot('/usr')", ("privilege", "capabilities CAP_SYS_CHROOT"), Compat::Refused),
    ("userns", "do(libc.unshare(0x10000000))", ("privilege", "user-namespace"), Compat::Open),
    ("netns", "do(libc.unshare(0x40000000))", ("privilege", "capabilities CAP_SYS_ADMIN"), Compat::Refused),
    ("bpf", "do(libc.syscall(321, 12, bytes(128), 128))", ("privilege", "bpf"), Compat::Refused),
    (
        "module",
        "do(libc.syscall(175, bytes(8), 8, b''))",
        ("privilege", "capabilities CAP_SYS_MODULE"),
        Compat::Refused,
    ),
    ("kill", "os.kill(OUTSIDE, 0)", ("signal", "process OUTSIDE"), Compat::Refused),
    ("ptrace", "do(libc.ptrace(0x4206, OUTSIDE, 0, 0))", ("ptrace", "process OUTSIDE"), Compat::Refused),
    ("tiocsti", "fcntl.ioctl(0, 0x5412, b'x')", ("privilege", "terminal-injection"), Compat::Open),
    (
        "mark",
        "socket.socket().setsockopt(1, 36, 7)",
        ("privilege", "capabilities CAP_NET_ADMIN"),
        Compat::Refused,
    ),
    (
        "raw",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        ("socket", "family 2 type 3"),
        Compat::Refused,
    ),
    (
        "packet",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)",
        ("socket", "family 17 type 3"),
        Compat::Refused,
    ),
    (
        "alg",
        "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        ("socket", "family 38 type 5"),
        Compat::Open,
    ),
];

const PRELUDE: &str = "
import ctypes, fcntl, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def do(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), '')
def attempt(name, code):
    try:
        exec(code)
        print(name, 0)
    except OSError as e:
        print(name, e.errno)
";

fn script(outside: u32) -> String {
    let mut script = PRELUDE.to_owned();
    for (name, code, ..) in ATTEMPTS {
        let code = code.replace("OUTSIDE", &outside.to_string());
        // In a child each, so that what succeeds spoils nothing.
        script.push_str(&format!(
            "if not (p := os.fork()):\n    attempt({name:?}, {code:?})\n    import sys; sys.stdout.flush(); os._exit(0)\nos.waitpid(p, 0)\n"
        ));
    }
    script
}

#[test]
fn a_root_agent_has_no_privilege_that_its_policy_does_not_name() {
    let site = Site::served();
    let outside = std::process::id();
    let run = site.agent(site.policy("plain", "", "")).python(&script(outside)).success();
    let id = run.invocation();
    for (name, _, (action, object), compat) in ATTEMPTS {
        let refused = format!("{name} {}\n", libc::EPERM);
        if Level::expected() == Level::Compat {
            let absent = format!("{name} {}\n", libc::ENOSYS); // a kernel without modules
            let kept_away = run.stdout.contains(&refused) || run.stdout.contains(&absent);
            assert!(*compat == Compat::Open || kept_away, "{name}\n{run}");
            continue;
        }
        assert!(run.stdout.contains(&refused), "{name}\n{run}");
        site.log().denial(&id, action, &object.replace("OUTSIDE", &outside.to_string()));
    }
}

#[test]
fn privileges_are_granted_by_name() {
    let site = Site::served();
    let rest = "  privileges: [raw-socket, chroot]\n";
    let run = site.agent(site.policy("some", "", rest)).python(&script(std::process::id())).success();
    for (name, errno) in [("chroot", 0), ("raw", 0), ("netns", libc::EPERM)] {
        assert!(run.stdout.contains(&format!("{name} {errno}\n")), "{name}\n{run}");
    }
}

#[test]
fn an_agent_signals_and_traces_its_own() {
    let site = Site::served();
    let script = "
import os, signal
read, write = os.pipe()
if not (child := os.fork()):
    os.close(write)
    os.read(read, 1)
    os._exit(1)
print(len(open(f'/proc/{child}/maps').read()) > 0 if LSM else True)
os.kill(child, signal.SIGTERM)
print(os.waitpid(child, 0)[1])
";
    let lsm = if Level::expected() == Level::Lsm { "True" } else { "False" };
    let run = site.agent(site.policy("plain", "", "")).python(&script.replace("LSM", lsm)).success();
    assert_eq!(run.stdout, "True\n15\n", "{run}");
}
