//! Shells and the programs that scripts are made of.

use agentguard_tests::{Level, level};

use crate::workload::Workload;

const PIPELINES: &str = r#"
printf '%s\n' pear apple fig | sort | tee sorted | head -n 2 | tr a-z A-Z
wc -l < sorted
mkdir -p a/b && touch a/b/c && find a -type f | xargs ls
sed 's/p/P/g' sorted | grep -c P
cat <<< "$(< sorted)" | diff - sorted && echo same
mv sorted renamed && cp renamed copy && rm renamed && ls
( trap 'echo trapped' EXIT; exit 0 )
"#;
const PIPELINES_SAY: &str = "APPLE\nFIG\n3\na/b/c\n2\nsame\na\ncopy\ntrapped\n";

#[test]
fn shell_pipelines_run() {
    Workload::shipped("shell_pipelines_run", "coding-agent").run(PIPELINES, PIPELINES_SAY);
}

#[test]
fn shell_pipelines_run_for_an_ordinary_user() {
    let workload = Workload::new("shell_pipelines_run_for_an_ordinary_user", "base, shell").user("nobody");
    workload.run(PIPELINES, PIPELINES_SAY);
}

#[test]
fn shell_controls_jobs_and_substitutes_processes() {
    let script = r#"
diff <(printf '1\n2\n') <(seq 2) && echo same
sleep 1000 & kill %1; wait %1 || echo "ended with $?"
coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"; kill "$COPROC_PID"
mkfifo pipe; cat pipe & echo pumped > pipe; wait $!
exec 7<> pipe; echo kept >&7; read -r line <&7; echo "$line"
( ulimit -n 100; ulimit -n ) && umask 027 && touch new && stat -c %a new
flock new -c 'echo locked' && timeout 100 true && nice -n 5 nohup setsid true 2>/dev/null && echo nice
d=$(mktemp -d) && cp -a new "$d/" && chown 0:0 "$d/new" && install -m 600 new "$d/installed" && rm -r "$d"
truncate -s 1M sparse && dd if=/dev/zero of=sparse bs=4k count=2 conv=notrunc status=none && wc -c < sparse
shred -u sparse && ls && date -u -d @0 +%Y && id -u && nproc | grep -c . && df --output=target . | wc -l
"#;
    let says = "same\nended with 143\nthrough\npumped\nkept\n100\n640\nlocked\nnice\n1048576\n\
                new\npipe\n1970\n0\n1\n2\n";
    let workload = Workload::new("shell_controls_jobs_and_substitutes_processes", "base, shell");
    let why = "df's table of mounts is a link to /proc/self/mounts, which Landlock cannot allow";
    workload.expects_at(Level::Compat, "open", "/etc/mtab", why).run(script, says);
}

#[test]
fn find_and_xargs_walk_a_tree() {
    let script = r#"
mkdir -p {a,b}/{1,2} && touch {a,b}/{1,2}/{x,'y z'} && find . -type f -name x -path '*2*' | sort
find . -type f -print0 | xargs -0 -P 4 -n 1 sh -c 'echo "$0" > "$0"'
find . -name 'y z' -exec cat {} + | sort | head -n 1
find a -type f -delete && find . -empty -type d | sort && find . -depth -mindepth 1 -execdir rm -rf {} + && ls | wc -l
"#;
    let says = "./a/2/x\n./b/2/x\n./a/1/y z\n./a/1\n./a/2\n0\n";
    Workload::new("find_and_xargs_walk_a_tree", "base, shell").run(script, says);
}

#[test]
fn perl_edits_and_forks() {
    let script = r#"
perl -MFile::Temp=tempfile -MPOSIX=:sys_wait_h -MIO::Socket::UNIX -e '
  my ($file, $name) = tempfile(UNLINK => 1); print $file "text"; close $file; print -s $name, "\n";
  pipe(my $read, my $write); my $pid = fork();
  if (!$pid) { close $read; print $write "from a child\n"; exit 3 }
  close $write; print <$read>; waitpid($pid, 0); print WEXITSTATUS($?), "\n";
  my $server = IO::Socket::UNIX->new(Local => "socket", Listen => 1) or die $!;
  if (!fork()) { my $s = IO::Socket::UNIX->new(Peer => "socket") or die $!; print $s "over a socket\n"; exit }
  print $server->accept->getline; wait;
  print `echo shell`; utime(1, 2, $0); opendir(my $d, "."); print join(",", sort grep { !/^\./ } readdir $d), "\n";'
printf 'one\ntwo\n' > file && perl -pi.bak -e 's/o/0/g' file && cat file file.bak | head -n 3
"#;
    let says = "4\nfrom a child\n3\nover a socket\nshell\nsocket\n0ne\ntw0\none\n";
    Workload::shipped("perl_edits_and_forks", "coding-agent").run(script, says);
}

#[test]
fn processes_read_what_the_kernel_says_of_them() {
    let name = "processes_read_what_the_kernel_says_of_them";
    if level::skipped_unless(Level::Lsm, name, "Landlock cannot allow /proc/self") {
        return;
    }
    let script = r#"
read -r first < /proc/self/status && echo "${first%%:*}"
cat /proc/self/comm && awk '/^Threads/ { print $2 }' "/proc/self/status"
grep -c grep /proc/self/maps | grep -c . && ls /proc/self/fd | wc -l && ls /proc/self/task | wc -l
cat /proc/self/fd/0 <<< here && cat <(echo there)
"#;
    Workload::new(name, "base, shell").run(script, "Name\ncat\n1\n1\n4\n1\nhere\nthere\n");
}
