//! What a policy does not allow is refused with the right error, and the event names the rule.

use agentguard_tests::agent::PYTHON;
use agentguard_tests::loopback::{Listener, udp};
use agentguard_tests::process::Finished;
use agentguard_tests::{Policy, Site};

/// A Python script that tries each `action` and prints `name errno`, 0 when it is let through.
fn attempts(actions: &[(&str, &str)]) -> String {
    let mut script = String::from("import os, socket, subprocess\n");
    for (name, action) in actions {
        script += &format!("try:\n    {action}\n    print('{name}', 0)\n");
        script += &format!("except OSError as e:\n    print('{name}', e.errno)\n");
    }
    script
}

/// Checks the lines of a script of [`attempts`].
#[track_caller]
fn outcomes(run: Finished, want: &[(&str, i32)]) -> Finished {
    let want: String = want.iter().map(|(name, errno)| format!("{name} {errno}\n")).collect();
    let run = run.success();
    assert_eq!(run.stdout, want, "{run}");
    run
}

/// A workspace, a secret that a rule names, and nothing else.
fn file_policy(site: &Site) -> Policy {
    let files = format!(
        r#"
    - allow: [read, write, create, delete]
      paths: ["${{workspace}}/**"]
    - deny: all
      paths: ["{}/.ssh/**"] # keys
      reason: keys are not for agents
    - allow: [read]
      paths: ["{}/readable/**"]
"#,
        site.at("home"),
        site.at("outside")
    );
    site.policy("files", &files, "")
}

#[test]
fn a_private_key_is_not_readable() {
    let site = Site::served();
    let key = site.file("home/.ssh/id_ed25519", "secret");
    let policy = file_policy(&site);
    let script = attempts(&[("key", &format!("print(open('{key}').read())"))]);
    let run = outcomes(site.agent(&policy).python(&script), &[("key", libc::EACCES)]);
    let event = site.log().denial(&run.invocation(), "open", &key);
    event.by_rule(&policy, "# keys");
    assert_eq!(event.text("/rule/reason"), "keys are not for agents");
    assert_eq!(event.0["access"], serde_json::json!(["read"]));
}

#[test]
fn nothing_outside_the_workspace_is_written() {
    let site = Site::served();
    let (new, old) = (site.at("outside/new"), site.file("outside/readable/old", "old\n"));
    let policy = file_policy(&site);
    let script = attempts(&[
        ("inside", "open('made', 'w').write('x')"),
        ("read", &format!("open('{old}').read()")),
        ("create", &format!("open('{new}', 'w')")),
        ("append", &format!("open('{old}', 'a')")),
        ("truncate", &format!("os.truncate('{old}', 0)")),
        ("unlink", &format!("os.unlink('{old}')")),
        ("mkdir", &format!("os.mkdir('{new}')")),
    ]);
    let denied = libc::EACCES;
    let run = outcomes(
        site.agent(&policy).python(&script),
        &[
            ("inside", 0),
            ("read", 0),
            ("create", denied),
            ("append", denied),
            ("truncate", denied),
            ("unlink", denied),
            ("mkdir", denied),
        ],
    );
    assert_eq!(std::fs::read_to_string(&old).expect("still there"), "old\n");
    assert!(!std::path::Path::new(&new).exists());
    let (log, id) = (site.log(), run.invocation());
    log.denial(&id, "open", &old).by_default();
    log.denial(&id, "path", &old).by_default();
    log.denial(&id, "path", &new).by_default();
}

#[test]
fn an_unlisted_program_does_not_run() {
    let site = Site::served();
    let tool = site.at("outside/readable/tool");
    std::fs::create_dir(site.path("outside/readable")).expect("mkdir");
    std::fs::copy("/usr/bin/true", &tool).expect("copying a program");
    let policy = file_policy(&site);
    let script = attempts(&[("exec", &format!("subprocess.run(['{tool}'])"))]);
    let run = outcomes(site.agent(&policy).python(&script), &[("exec", libc::EACCES)]);
    site.log().denial(&run.invocation(), "exec", &tool).by_default();
}

#[test]
fn an_unprivileged_agent_is_denied_by_the_policy_too() {
    let site = Site::served();
    let file = site.file("outside/world-readable", "x");
    let script = attempts(&[("uid", "print(os.getuid())"), ("read", &format!("open('{file}')"))]);
    let run = site.agent(file_policy(&site)).options(&["--user", "nobody"]).python(&script).success();
    assert_eq!(run.stdout, format!("65534\nuid 0\nread {}\n", libc::EACCES), "{run}");
    let event = site.log().denial(&run.invocation(), "open", &file);
    assert_eq!(event.by_default().number("/process/uid"), Some(65534));
}

#[test]
fn a_dotenv_in_the_workspace_is_hidden_by_the_shipped_policy() {
    let site = Site::served();
    let secret = site.file("workspace/.env", "TOKEN=1\n");
    site.file("workspace/notes.txt", "notes\n");
    let agent = site.agent("coding-agent").options(&["--allow-degraded"]);
    let run = agent.run(["/usr/bin/bash", "-c", "cat notes.txt; cat .env"]).failure();
    assert_eq!(run.stdout, "notes\n", "{run}");
    assert!(run.stderr.contains("Permission denied"), "{run}");
    let event = site.log().denial(&run.invocation(), "open", &secret);
    assert_eq!(event.text("/rule/document"), "coding-agent", "{event}");
    assert!(event.text("/rule/text").contains("**/.env"), "{event}");
    assert_eq!(std::fs::read_to_string(&secret).expect("untouched"), "TOKEN=1\n");
}

/// Everything that loopback offers, with one TCP port and one UDP port allowed.
struct Network {
    tcp: Listener,
    tcp6: Listener,
    other: Listener,
    udp: std::net::UdpSocket,
    policy: Policy,
}

impl Network {
    fn new(site: &Site) -> Self {
        let (tcp, tcp6, other) = (Listener::on("127.0.0.1"), Listener::on("::1"), Listener::on("127.0.0.1"));
        let udp = udp("127.0.0.1");
        let udp_port = udp.local_addr().expect("a bound socket").port();
        let rest = format!(
            "  network:
    - allow: [connect] # tcp
      to: [\"127.0.0.1\", \"::1\"]
      ports: [{}, {}]
      protocol: [tcp]
    - allow: [connect] # udp
      to: [\"127.0.0.1\"]
      ports: [{udp_port}]
      protocol: [udp]
    - deny: [connect] # one address
      to: [\"127.0.0.9\"]
      reason: nobody talks to nine
",
            tcp.port(),
            tcp6.port()
        );
        let policy = site.policy("network", "", &rest);
        Self { tcp, tcp6, other, udp, policy }
    }
}

#[test]
fn tcp_reaches_what_is_listed_and_nothing_else() {
    let site = Site::served();
    let net = Network::new(&site);
    let (port, port6, other) = (net.tcp.port(), net.tcp6.port(), net.other.port());
    let connect = |host: &str, port: u16| format!("socket.create_connection(('{host}', {port}), 5)");
    let script = attempts(&[
        ("listed", &connect("127.0.0.1", port)),
        ("listed6", &connect("::1", port6)),
        ("mapped", &format!("socket.socket(socket.AF_INET6).connect(('::ffff:127.0.0.1', {port}))")),
        ("port", &connect("127.0.0.1", other)),
        ("port6", &connect("::1", other)),
        ("address", &connect("127.0.0.2", port)),
        ("mapped-port", &format!("socket.socket(socket.AF_INET6).connect(('::ffff:127.0.0.1', {other}))")),
        ("rule", &connect("127.0.0.9", port)),
    ]);
    let eperm = libc::EPERM;
    let want = [
        ("listed", 0),
        ("listed6", 0),
        ("mapped", 0),
        ("port", eperm),
        ("port6", eperm),
        ("address", eperm),
        ("mapped-port", eperm),
        ("rule", eperm),
    ];
    let run = outcomes(site.agent(&net.policy).python(&script), &want);
    assert!(net.other.is_untouched());
    let (log, id) = (site.log(), run.invocation());
    log.denial(&id, "connect", &format!("127.0.0.1:{other}")).by_default();
    log.denial(&id, "connect", &format!("[::1]:{other}")).by_default();
    log.denial(&id, "connect", &format!("127.0.0.2:{port}")).by_default();
    let event = log.denial(&id, "connect", &format!("127.0.0.9:{port}"));
    event.by_rule(&net.policy, "# one address");
    assert_eq!(event.text("/rule/reason"), "nobody talks to nine");
}

#[test]
fn udp_reaches_what_is_listed_and_nothing_else() {
    let site = Site::served();
    let net = Network::new(&site);
    let port = net.udp.local_addr().expect("a bound socket").port();
    let socket = |family: &str, call: &str| format!("socket.socket({family}, socket.SOCK_DGRAM).{call}");
    let (v4, v6) = ("socket.AF_INET", "socket.AF_INET6");
    let script = attempts(&[
        ("sendto", &socket(v4, &format!("sendto(b'one', ('127.0.0.1', {port}))"))),
        ("connect", &socket(v4, &format!("connect(('127.0.0.1', {port}))"))),
        ("sendto-address", &socket(v4, &format!("sendto(b'two', ('127.0.0.2', {port}))"))),
        ("sendto-port", &socket(v4, "sendto(b'two', ('127.0.0.1', 9))")),
        ("sendto6", &socket(v6, &format!("sendto(b'two', ('::1', {port}))"))),
        ("connect-address", &socket(v4, &format!("connect(('127.0.0.3', {port}))"))),
        ("connect6", &socket(v6, "connect(('::1', 9))")),
    ]);
    let eperm = libc::EPERM;
    let want = [
        ("sendto", 0),
        ("connect", 0),
        ("sendto-address", eperm),
        ("sendto-port", eperm),
        ("sendto6", eperm),
        ("connect-address", eperm),
        ("connect6", eperm),
    ];
    let run = outcomes(site.agent(&net.policy).python(&script), &want);
    let mut buffer = [0; 16];
    assert_eq!(net.udp.recv(&mut buffer).expect("the allowed datagram"), 3);
    assert!(net.udp.recv(&mut buffer).is_err(), "a denied datagram arrived");
    let (log, id) = (site.log(), run.invocation());
    for (host, port) in
        [("127.0.0.2", port), ("127.0.0.1", 9), ("[::1]", port), ("127.0.0.3", port), ("[::1]", 9)]
    {
        log.denial(&id, "connect", &format!("{host}:{port}")).by_default();
    }
}

#[test]
fn binding_needs_a_rule() {
    let site = Site::served();
    let policy = site.policy(
        "bind",
        "",
        r#"
  network:
    - allow: [bind]
      to: ["127.0.0.1"]
      ports: ["0", "20000-20999"]
"#,
    );
    let script = attempts(&[
        ("any-port", "socket.socket().bind(('127.0.0.1', 0))"),
        ("address", "socket.socket().bind(('0.0.0.0', 20500))"),
        ("port", "socket.socket().bind(('127.0.0.1', 21000))"),
    ]);
    let want = [("any-port", 0), ("address", libc::EPERM), ("port", libc::EPERM)];
    let run = outcomes(site.agent(&policy).run([PYTHON, "-c", &script]), &want);
    site.log().denial(&run.invocation(), "bind", "0.0.0.0:20500").by_default();
    site.log().denial(&run.invocation(), "bind", "127.0.0.1:21000").by_default();
}
