//! Tools of the system that agents use in their workspace.

use agentguard_tests::Level;

use crate::workload::Workload;

#[test]
fn apt_plans_an_installation() {
    let workload = Workload::new("apt_plans_an_installation", "base, shell");
    let rules = r#"
    - allow: [read, exec]
      paths: ["/usr/bin/{apt-get,apt-cache,apt-config,dpkg,dpkg-deb,dpkg-query}"]
    - allow: [read]
      paths: ["/etc/apt/**", "/etc/dpkg/**", "/etc/machine-id", "/var/lib/{apt,dpkg}/**", "/var/cache/apt/**"]
    - allow: [read, write, create, delete]
      paths: ["/var/log/apt/**"]
"#;
    let script = r#"
mkdir -p package/DEBIAN package/usr/share/greeting && echo hello > package/usr/share/greeting/text
printf '%s\n' 'Package: greeting' 'Version: 1.0' 'Architecture: all' 'Maintainer: t <t@localhost>' \
  'Description: says hello' > package/DEBIAN/control
dpkg-deb --root-owner-group -b package greeting.deb > /dev/null && dpkg-deb -c greeting.deb | grep -c greeting/text
mkdir lists # none: to read the archive's takes a guest half a minute
apt-get -o Dir::State::Lists="$PWD/lists" -s install ./greeting.deb 2> /dev/null | grep '^Inst' | cut -d ' ' -f 1-3
dpkg -s dpkg | sed -n 1p
"#;
    let Some(workload) = workload.files(rules).needs(&["/usr/bin/apt-get"]) else { return };
    workload.run(script, "1\nInst greeting (1.0\nPackage: dpkg\n");
}

#[test]
fn sqlite_keeps_a_database() {
    let workload = Workload::new("sqlite_keeps_a_database", "base, shell, python");
    let rules = "    - allow: [read, exec]\n      paths: [\"/usr/bin/sqlite3\"]";
    let Some(workload) = workload.files(rules).needs(&["/usr/bin/sqlite3"]) else { return };
    let script = r#"
sqlite3 test.db 'pragma journal_mode = wal; create table t (n integer); insert into t values (1), (2), (3);'
python3 - <<'END'
import sqlite3
connection = sqlite3.connect("test.db")
with connection:
    connection.executemany("insert into t values (?)", [(n,) for n in range(4, 101)])
other = sqlite3.connect("test.db")
print(other.execute("select count(*), sum(n) from t").fetchone())
END
sqlite3 test.db 'pragma journal_mode = delete; delete from t where n > 50; vacuum; pragma integrity_check;'
sqlite3 test.db .dump | sqlite3 copy.db && sqlite3 copy.db 'select max(n) from t' && ls
"#;
    workload.run(script, "wal\n(100, 5050)\ndelete\nok\n50\ncopy.db\ntest.db\n");
}

#[test]
fn ssh_keygen_makes_keys() {
    let workload = Workload::new("ssh_keygen_makes_keys", "base, shell");
    let rules = "    - allow: [read, exec]\n      paths: [\"/usr/bin/ssh-keygen\"]";
    let Some(workload) = workload.files(rules).needs(&["/usr/bin/ssh-keygen"]) else { return };
    let script = r#"
for kind in ed25519 rsa; do
  ssh-keygen -q -t $kind -b 2048 -N '' -C comment -f key-$kind
  stat -c '%a %n' key-$kind
  ssh-keygen -y -f key-$kind | diff - key-$kind.pub && ssh-keygen -l -f key-$kind.pub | grep -o '(.*)'
done
echo text > text && ssh-keygen -Y sign -q -n file -f key-ed25519 text
ssh-keygen -Y check-novalidate -n file -s text.sig < text | grep -o '^Good'
"#;
    workload.run(script, "600 key-ed25519\n(ED25519)\n600 key-rsa\n(RSA)\nGood\n");
}

#[test]
fn tmux_runs_a_command_in_a_terminal() {
    let workload = Workload::new("tmux_runs_a_command_in_a_terminal", "base, shell");
    // Terminals: rules can't say "only its own".
    let rules = r#"
    - allow: [read, exec]
      paths: ["/usr/bin/tmux"]
    - allow: [read, write]
      paths: ["/dev/ptmx", "/dev/pts/**"]
"#;
    let Some(workload) = workload.files(rules).needs(&["/usr/bin/tmux"]) else { return };
    let script = r#"
tmux() { command tmux -S "$PWD/socket" -f /dev/null "$@"; }
tmux new-session -d -s work -x 80 -y 24 \
  'tty > terminal; stty -echo; tmux -S socket wait-for -S ready; read -r line; echo "read $line"
   tmux -S socket wait-for -S typed; cat'
tmux wait-for ready && tmux send-keys -t work 'typed text' Enter && tmux wait-for typed
tmux capture-pane -p -t work | grep typed
grep -c '^/dev/pts/' terminal
tmux list-sessions -F '#{session_name}'
tmux kill-server
"#;
    let why = "what its processes have open and are called; `/proc/self` stands for the one that asks only";
    let workload = workload.expects("open", "/proc/*", why);
    // Where the harness captures what is said, which the agent has open and could not open itself.
    let output = workload.site().at("output/*");
    let workload = workload.expects_at(Level::Lsm, "use", &output, "a client hands its output to the server");
    workload.run(script, "read typed text\n1\nwork\n");
}
