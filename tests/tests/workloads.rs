//! Everyday work runs under the shipped policy as it does without: same output, same status, same files.

use std::process::Command;

use agentguard_tests::loopback::Listener;
use agentguard_tests::process::Finished;
use agentguard_tests::{Level, Site, level};

/// Runs a script in an empty workspace as an agent; `user` is the user to run it as.
fn under_policy(site: &Site, user: &str, script: &str) -> Finished {
    // `~/.env` and the like are denied inside what is allowed, which Landlock cannot say.
    let degraded: &[&str] = if Level::expected() == Level::Compat { &["--allow-degraded"] } else { &[] };
    let agent = site.agent("coding-agent").options(&["--user", user]).options(degraded);
    agent.env("HOME", &site.at("home")).env("GIT_CONFIG_NOSYSTEM", "1").bash(script)
}

/// Checks that a script says and does the same in a workspace with and without a policy.
fn works_as_without(user: &str, script: &str) {
    let bare = Site::new();
    let mut command = Command::new("/usr/bin/bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(bare.path("workspace"));
    command.env("HOME", bare.path("home")).env("GIT_CONFIG_NOSYSTEM", "1");
    let outside = bare.finish(&mut command).success();

    let site = Site::new();
    let daemon = site.daemon();
    let inside = under_policy(&site, user, script).success();
    assert_eq!(inside.stdout, outside.stdout, "{inside}");
    assert!(!inside.stdout.is_empty(), "a script that says nothing shows nothing");
    daemon.stop(&site, libc::SIGTERM);
}

/// Whether a program that a test is about is not installed here.
fn missing(test: &str, program: &str) -> bool {
    let found = std::path::Path::new(program).exists();
    if !found {
        level::skip(test, &format!("{program} is not installed"));
    }
    !found
}

const GIT: &str = r"
mkdir origin && cd origin
git init -q -b main .
git config user.name Tester && git config user.email tester@localhost
echo one > file && git add file && git commit -qm first
cd .. && git clone -q origin copy && cd copy
git config user.name Tester && git config user.email tester@localhost
echo two >> file && git commit -qam second && git push -q origin HEAD:side
git log --format=%s && git -C ../origin branch --format='%(refname:short)' && git status --short
";

#[test]
fn git_clones_commits_and_pushes() {
    works_as_without("root", GIT);
}

#[test]
fn git_works_for_an_ordinary_user() {
    works_as_without("nobody", GIT);
}

const PYTHON: &str = r#"
/usr/bin/python3 -m venv --without-pip --clear environment
environment/bin/python - <<'END'
import socket, subprocess, sys, tempfile, threading
assert sys.prefix.endswith("/environment")
server = socket.create_server(("127.0.0.1", 0))
def answer():
    connection, _ = server.accept()
    connection.sendall(connection.recv(100).upper())
thread = threading.Thread(target=answer)
thread.start()
client = socket.create_connection(server.getsockname())
client.sendall(b"hello")
print(client.recv(100))
thread.join()
print(subprocess.run(["sort"], input=b"b\na\n", capture_output=True, check=True).stdout)
with tempfile.NamedTemporaryFile() as file:
    print(file.write(b"text"))
import ctypes, decimal, hashlib, json, sqlite3, ssl
print(sqlite3.connect("test.db").execute("select 6 * 7").fetchone())
END
"#;

#[test]
fn python_makes_environments_sockets_threads_and_children() {
    works_as_without("root", PYTHON);
}

#[test]
fn python_works_for_an_ordinary_user() {
    works_as_without("nobody", PYTHON);
}

#[test]
fn node_asks_over_http_and_starts_children() {
    let name = "node_asks_over_http_and_starts_children";
    if missing(name, "/usr/bin/node") {
        return;
    }
    let script = r#"
cat > test.js <<'END'
const http = require("http"), { execFileSync } = require("child_process"), fs = require("fs");
const server = http.createServer((request, response) => response.end("you asked for " + request.url));
server.listen(0, "127.0.0.1", () => {
  http.get({ port: server.address().port, host: "127.0.0.1", path: "/x" }, response => {
    response.on("data", data => console.log(String(data)));
    response.on("end", () => server.close());
  });
});
fs.writeFileSync("made.txt", "made");
console.log(String(execFileSync("/usr/bin/cat", ["made.txt"])));
END
node test.js
"#;
    works_as_without("root", script);
}

#[test]
fn shell_pipelines_run() {
    let script = r#"
printf '%s\n' pear apple fig | sort | tee sorted | head -n 2 | tr a-z A-Z
wc -l < sorted
mkdir -p a/b && touch a/b/c && find a -type f | xargs ls
sed 's/p/P/g' sorted | grep -c P
cat <<< "$(< sorted)" | diff - sorted && echo same
mv sorted renamed && cp renamed copy && rm renamed && ls
( trap 'echo trapped' EXIT; exit 0 )
"#;
    works_as_without("root", script);
}

#[test]
fn gcc_compiles_and_the_result_runs() {
    let script = r#"
cat > hello.c <<'END'
#include <stdio.h>
#include <math.h>
int main(int argc, char **argv) { printf("hello %d %.1f\n", argc, sqrt(argc * 16.0)); return 0; }
END
gcc -O1 -Wall -o hello hello.c -lm
./hello
"#;
    works_as_without("root", script);
}

#[test]
fn curl_reads_from_loopback() {
    let site = Site::new();
    let _daemon = site.daemon();
    let listener = Listener::on("127.0.0.1");
    let script = format!("curl -sS --max-time 300 http://127.0.0.1:{}/page", listener.port());
    let server = listener.answer_http("the page\n");
    let run = under_policy(&site, "root", &script).success();
    assert_eq!(run.stdout, "the page\n");
    assert!(server.join().expect("no panic").starts_with("GET /page HTTP/1.1\r\n"));
}
