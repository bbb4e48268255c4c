//! The identity sticks to whatever a run starts, however it starts it, and to nothing else.

use std::collections::BTreeSet;

use agentguard_tests::agent::PYTHON;
use agentguard_tests::loopback::Listener;
use agentguard_tests::{Policy, Site};

/// Tries to connect to `port` and leaves the error number in the file `name`.
const PROBE: &str = r"
import os, socket, sys, threading
PORT = int(sys.argv[1])
def probe(name):
    with socket.socket() as s:
        result = s.connect_ex(('127.0.0.1', PORT))
    with open(name + '.part', 'w') as f:
        f.write(str(result))
    os.rename(name + '.part', name)
";

fn offline(site: &Site) -> Policy {
    let files = r#"
    - allow: [read, write, create, delete, link]
      paths: ["${workspace}/**"]
"#;
    site.policy("offline", files, "")
}

/// Runs `script` after [`PROBE`] and checks that each of `names` was denied under the same identity.
fn denied_under_one_identity(script: &str, argv: &[&str], names: &[&str]) {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    site.file("workspace/probe.py", &format!("{PROBE}{script}"));
    let port = listener.port().to_string();
    let run = site.agent(offline(&site)).run(argv.iter().copied().chain(["probe.py", &port])).success();
    let events = site.log().until_end(&run.invocation());
    for name in names {
        let result = std::fs::read_to_string(site.path(&format!("workspace/{name}")));
        assert_eq!(result.expect("the probe ran"), libc::EPERM.to_string(), "{name}");
    }
    let object = format!("127.0.0.1:{port}");
    let denied: Vec<_> = events.iter().filter(|e| e.is_denial() && e.text("/object") == object).collect();
    assert_eq!(denied.len(), names.len(), "{denied:?}");
    let who: BTreeSet<_> = denied.iter().map(|e| e.number("/process/tid")).collect();
    assert_eq!(who.len(), names.len(), "not each by a task of its own: {who:?}");
    assert!(listener.is_untouched());
}

#[test]
fn children_and_threads_keep_it() {
    let script = r"
thread = threading.Thread(target=probe, args=('thread',))
thread.start()
thread.join()
child = os.fork()
if child == 0:
    probe('child')
    inner = threading.Thread(target=probe, args=('thread-of-child',))
    inner.start()
    inner.join()
    os._exit(0)
os.waitpid(child, 0)
probe('self')
";
    denied_under_one_identity(script, &[PYTHON], &["self", "thread", "child", "thread-of-child"]);
}

#[test]
fn a_daemonised_process_keeps_it_when_its_parents_are_gone() {
    let script = r"
import signal
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)  # until every other process of this run is gone
        probe('orphan')
        os._exit(0)
    os._exit(0)
os.wait()
";
    denied_under_one_identity(script, &[PYTHON], &["orphan"]);
}

#[test]
fn nohup_and_setsid_keep_it() {
    denied_under_one_identity(
        "probe('started')",
        &["/usr/bin/nohup", "/usr/bin/setsid", "-w", PYTHON],
        &["started"],
    );
}

#[test]
fn a_subprocess_without_fork_keeps_it() {
    let script = r"
if len(sys.argv) == 2:
    os.waitpid(os.posix_spawn(sys.executable, [sys.executable, 'probe.py', sys.argv[1], 'again'], os.environ), 0)
else:
    probe('spawned')
";
    denied_under_one_identity(script, &[PYTHON], &["spawned"]);
}

#[test]
fn processes_outside_are_never_denied_anything() {
    let site = Site::served();
    let listener = Listener::on("127.0.0.1");
    let policy = offline(&site);
    let agent = site.agent(&policy).spawn_on(std::process::Stdio::piped(), &["/usr/bin/cat"]);
    let id = agent.invocation();
    let script = format!(
        "import socket, os\nsocket.create_connection(('127.0.0.1', {}))\nopen('{}', 'w').write('x')\n\
         os.listdir('/root')\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\nprint('free')",
        listener.port(),
        site.at("outside/free")
    );
    let mut outside = std::process::Command::new(PYTHON);
    let run = site.finish(outside.args(["-c", &script])).success();
    assert_eq!(run.stdout, "free\n");
    drop(agent);
    assert!(site.log().until_end(&id).iter().all(|e| !e.is_denial()));
}
