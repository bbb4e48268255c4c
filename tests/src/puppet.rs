//! An agent that does what the test tells it, one thing after the other.

use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};

use crate::agent::{Agent, PYTHON, Running};
use crate::site::Site;
use crate::tail;

/// Reads `VERB ARGUMENT` lines and answers each with its number and `ok` or the name of the error.
const SCRIPT: &str = r"
import errno, os, socket, subprocess, sys, threading, time
held = []
def attempt(verb, argument):
    if verb == 'read':
        with open(argument) as f:
            f.read()
    elif verb == 'write':
        with open(argument, 'w') as f:
            f.write('x')
    elif verb == 'connect':
        host, port = argument.rsplit(':', 1)
        s = socket.create_connection((host, int(port)))
        held.append(s)
    elif verb == 'send':
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        host, port = argument.rsplit(':', 1)
        s.sendto(b'x', (host, int(port)))
    elif verb == 'thread':
        for _ in range(int(argument)):
            threading.Thread(target=time.sleep, args=(100000,), daemon=True).start()
    elif verb == 'child':
        for _ in range(int(argument)):
            if os.fork() == 0:
                time.sleep(100000)
    elif verb == 'run':
        subprocess.run(argument.split(' '), check=True, stdout=subprocess.DEVNULL)
for number, line in enumerate(sys.stdin):
    verb, argument = line.rstrip('\n').split(' ', 1)
    try:
        attempt(verb, argument)
        answer = 'ok'
    except OSError as e:
        answer = errno.errorcode[e.errno]
    except subprocess.CalledProcessError as e:
        answer = f'status {e.returncode}'
    print(number, answer, flush=True)
";

/// A running puppet.
#[derive(Debug)]
pub struct Puppet {
    pub running: Running,
    input: ChildStdin,
    asked: usize,
}

impl Agent<'_> {
    /// Starts a puppet.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn puppet(self) -> Puppet {
        let mut running = self.spawn_on(Stdio::piped(), &[PYTHON, "-c", SCRIPT]);
        let input = running.process.child().stdin.take().expect("a pipe");
        let puppet = Puppet { running, input, asked: 0 };
        let _ = puppet.invocation(); // it has its identity
        puppet
    }
}

impl Agent<'_> {
    /// Starts a puppet by `command`, a run of another agent, inside this one. Returns the ids of both.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn nested_puppet(self, command: &[&str]) -> (Puppet, [String; 2]) {
        let whole = [command, &["--", PYTHON, "-c", SCRIPT]].concat();
        let mut running = self.spawn_on(Stdio::piped(), &whole);
        let input = running.process.child().stdin.take().expect("a pipe");
        let ids: [String; 2] = running.invocations();
        (Puppet { running, input, asked: 0 }, ids)
    }
}

impl Site {
    /// Starts a puppet that is nobody's agent.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn stray_puppet(&self) -> Puppet {
        let mut command = Command::new(PYTHON);
        command.args(["-c", SCRIPT]);
        let mut running = Running::start(self, command, Stdio::piped());
        let input = running.process.child().stdin.take().expect("a pipe");
        let mut puppet = Puppet { running, input, asked: 0 };
        assert_eq!(puppet.attempt("read", "/dev/null"), "ok"); // it runs
        puppet
    }
}

impl Puppet {
    /// The invocation's id.
    #[must_use]
    pub fn invocation(&self) -> String {
        self.running.invocation()
    }

    /// Has it do something: `read` or `write` a path, `connect` or `send` to an address, `run` a command, start so many idle
    /// ones: `thread` or `child`. Returns `ok` or
    /// the name of the error.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn attempt(&mut self, verb: &str, argument: &str) -> String {
        let number = self.asked;
        self.asked += 1;
        writeln!(self.input, "{verb} {argument}").expect("the puppet reads");
        let mark = format!("{number} ");
        tail::until(&self.running.capture.stdout, &format!("answer to {verb} {argument}"), |text| {
            let answer = text.split_inclusive('\n').find_map(|line| line.strip_prefix(&mark))?;
            answer.strip_suffix('\n').map(str::to_owned)
        })
    }

    /// The same of one that may be killed, or stopped from answering, before it answers: then `None`.
    ///
    /// # Panics
    /// If it neither answers nor ends.
    #[must_use]
    pub fn attempt_or_end(&mut self, verb: &str, argument: &str) -> Option<String> {
        let number = self.asked;
        self.asked += 1;
        writeln!(self.input, "{verb} {argument}").ok()?;
        let mark = format!("{number} ");
        let give_up = std::time::Instant::now() + crate::level::deadline();
        loop {
            let text = std::fs::read_to_string(&self.running.capture.stdout).unwrap_or_default();
            if let Some(answer) = text.split_inclusive('\n').find_map(|line| line.strip_prefix(&mark)) {
                return answer.strip_suffix('\n').map(str::to_owned);
            }
            if self.running.process.child().try_wait().expect("waitpid").is_some() {
                return None;
            }
            assert!(std::time::Instant::now() < give_up, "no answer to {verb} {argument}, and no end");
            std::thread::sleep(std::time::Duration::from_millis(1)); // two things are awaited, in a file and of a process
        }
    }

    /// Lets it end by itself.
    pub fn dismiss(self) {
        drop(self.input);
        let (status, output) = self.running.finish();
        assert!(status.success(), "{output}");
    }
}
