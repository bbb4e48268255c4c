//! `agentguard run` is transparent: exit status, signals, terminal, pipes and process, but not the environment.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};

use agentguard_tests::loopback::await_readable;
use agentguard_tests::process::Owned;
use agentguard_tests::{Policy, Site};

fn plain(site: &Site) -> Policy {
    site.policy("plain", "", "")
}

#[test]
fn exit_status_and_death_by_signal_pass_through() {
    let site = Site::served();
    assert_eq!(site.agent(plain(&site)).bash("exit 7").status.code(), Some(7));
    assert_eq!(site.agent(plain(&site)).bash("kill -TERM $$").status.signal(), Some(libc::SIGTERM));
    let unlisted = site.file("home/unlisted", "#!/bin/sh\n");
    std::fs::set_permissions(&unlisted, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    assert_eq!(site.agent(plain(&site)).run([unlisted.as_str()]).status.code(), Some(126));
}

#[test]
fn the_command_takes_the_place_of_run() {
    let site = Site::served();
    let agent = site.agent(plain(&site)).spawn_on(Stdio::piped(), &["/usr/bin/bash", "-c", "echo $$; cat"]);
    agent.await_line(&agent.process.pid().to_string());
    agent.process.signal(libc::SIGUSR1);
    assert_eq!(agent.finish().0.signal(), Some(libc::SIGUSR1));
}

#[test]
fn pipes_carry_every_byte() {
    let site = Site::served();
    let data: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let mut command = site.agent(plain(&site)).command(["/usr/bin/cat"]);
    let mut agent = Owned::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut input = agent.child().stdin.take().expect("piped");
    let mut output = agent.child().stdout.take().expect("piped");
    let sent = data.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let mut got = Vec::new();
    output.read_to_end(&mut got).expect("read");
    writer.join().expect("no panic").expect("write");
    assert!(got == data, "{} of {} bytes, or others", got.len(), data.len());
    assert!(agent.wait().success());
}

#[test]
fn signal_masks_and_dispositions_are_those_of_the_caller() {
    let site = Site::served();
    let argv = ["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"];
    let outside = site.finish(Command::new(argv[0]).args(&argv[1..])).success();
    let inside = site.agent(plain(&site)).run(argv).success();
    assert_eq!(inside.stdout, outside.stdout);
}

/// Starts an agent with a new terminal as its controlling one. Returns the other end.
fn on_a_terminal(site: &Site, script: &str) -> (std::fs::File, Owned) {
    let pty = nix::pty::openpty(None, None).expect("openpty");
    let mut command = site.agent(plain(site)).command(["/usr/bin/bash", "-c", script]);
    let end = |fd: &OwnedFd| fd.try_clone().expect("dup");
    command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
    // SAFETY: async-signal-safe calls only; fd 0 is the terminal by then.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            libc::signal(libc::SIGINT, libc::SIG_DFL); // a shell starts what it puts in the background deaf to it
            Ok(())
        });
    }
    (std::fs::File::from(pty.master), Owned::spawn(&mut command))
}

/// Reads from a terminal until `text` came.
fn expect(terminal: &mut std::fs::File, text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        await_readable(terminal);
        let mut part = [0; 512];
        let n = terminal.read(&mut part).unwrap_or_else(|e| panic!("{e} before {text:?}: {seen}"));
        seen.push_str(&String::from_utf8_lossy(&part[..n]));
    }
}

#[test]
fn a_terminal_stays_a_terminal() {
    let site = Site::served();
    // A signal while bash is on its way to become another program is lost, so the other one speaks first.
    let script = "test -t 0 -a -t 1 && : >/dev/tty && read -rp 'name? ' n && exec sed -u \"s/^/$n says /\"";
    let (mut terminal, mut agent) = on_a_terminal(&site, script);
    expect(&mut terminal, "name? ");
    terminal.write_all(b"tester\n").expect("typing");
    terminal.write_all(b"hello\n").expect("typing");
    expect(&mut terminal, "tester says hello");
    terminal.write_all(b"\x03").expect("typing Ctrl-C");
    assert_eq!(agent.wait().signal(), Some(libc::SIGINT));
}

#[test]
fn the_environment_is_what_the_policy_passes() {
    let site = Site::served();
    let rest = r"
  environment:
    pass: [PATH, 'TEST_*']
    deny: ['*_TOKEN']
    set: { FIXED: 'yes' }
";
    let agent = site.agent(site.policy("environment", "", rest));
    let agent = agent.env("PATH", "/usr/bin").env("TEST_PLAIN", "1").env("TEST_TOKEN", "secret");
    let agent = agent.env("AWS_SECRET_ACCESS_KEY", "secret").env("LD_PRELOAD", "").env("FIXED", "no");
    let run = agent.run(["/usr/bin/env"]).success();
    let id = format!("AGENTGUARD_INVOCATION={}", run.invocation());
    let mut variables: Vec<_> = run.stdout.lines().collect();
    variables.sort_unstable();
    assert_eq!(variables, [id.as_str(), "FIXED=yes", "PATH=/usr/bin", "TEST_PLAIN=1"]);
}

#[test]
fn secrets_do_not_pass_under_the_shipped_policies() {
    let site = Site::served();
    let secrets =
        ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "OPENAI_API_KEY", "DB_PASSWORD", "LD_LIBRARY_PATH"];
    for policy in ["coding-agent", "build-runner", "read-only-auditor", "support-runner"] {
        let mut agent = site.agent(policy).options(&["--allow-degraded"]).env("LANG", "C.UTF-8");
        for name in secrets {
            agent = agent.env(name, "leak");
        }
        let run = agent.run(["/usr/bin/bash", "-c", "export -p"]).success();
        assert!(run.stdout.contains("LANG=\"C.UTF-8\"") && !run.stdout.contains("leak"), "{policy}: {run}");
    }
}

#[test]
fn another_user_gets_its_own_home_and_no_way_back() {
    let site = Site::served();
    let rest = "  environment: { pass: [HOME, USER, LOGNAME, PATH] }";
    let agent = site.agent(site.policy("nobody", "", rest)).options(&["--user", "nobody"]);
    let agent = agent.env("HOME", "/root").env("USER", "root").env("LOGNAME", "root");
    let script = "id -u; id -G; grep NoNewPrivs /proc/self/status; echo $HOME $USER $LOGNAME";
    let run = agent.bash(script).success();
    assert_eq!(run.stdout, "65534\n65534\nNoNewPrivs:\t1\n/nonexistent nobody nobody\n", "{run}");
    let start = site.log().lifecycle(&run.invocation(), "start");
    assert_eq!(start.text("/principal"), "user:nobody");
}

#[test]
fn an_ordinary_user_may_run_agents_but_not_administer() {
    let site = Site::served();
    let as_nobody = |command: &mut Command| site.finish(command.uid(65534).gid(65534));
    let run = as_nobody(&mut site.agent(plain(&site)).command(["/usr/bin/id", "-u"])).success();
    assert_eq!(run.stdout, "65534\n");
    for verb in [&["revoke", "--all"][..], &["events", "--follow"]] {
        let refused = as_nobody(site.agentguard().args(verb)).failure();
        assert!(refused.stderr.contains("only operators may"), "{refused}");
    }
}

#[test]
fn descriptors_above_two_are_not_inherited() {
    let site = Site::served();
    let secret = std::fs::File::open(site.file("outside/secret", "x")).expect("open");
    let mut command = site.agent(plain(&site)).command(["/usr/bin/ls", "/proc/self/fd"]);
    let fd = secret.as_raw_fd();
    // SAFETY: dup2 is async-signal-safe and makes a copy without close-on-exec.
    unsafe {
        command.pre_exec(
            move || if libc::dup2(fd, 77) < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) },
        )
    };
    let run = site.finish(&mut command).success();
    assert!(!run.stdout.lines().any(|fd| fd == "77"), "{run}");
}
