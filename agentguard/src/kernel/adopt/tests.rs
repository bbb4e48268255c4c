//! As root, with the kernel plane at the best level that this machine has.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentguard_common::file::Access;
use agentguard_common::invocation::{Invocation, Tag, state};

use crate::kernel::{Kernel, pidfd_open};
use crate::launch::testing;
use crate::policy::model::Effect;

/// One kernel plane at a time: each takes seconds to load.
static ALONE: Mutex<()> = Mutex::new(());
/// Longest that anything may take, also in a guest without hardware virtualisation. Only reached when a test fails.
const DEADLINE: Duration = Duration::from_secs(120);

/// A kernel plane with a policy that allows everything.
struct Plane {
    kernel: Kernel,
    policy: u32,
    slots: u32,
    _alone: MutexGuard<'static, ()>,
}

impl Plane {
    fn new() -> Option<Self> {
        if !testing::is_root() {
            return None;
        }
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut kernel, _) = Kernel::best(None).expect("a level");
        let rules = testing::policy(&[(Effect::Allow, "/**", Access::ALL)]);
        let compiled = crate::policy::compile::compile(&rules).expect("compiles");
        let (policy, _) = kernel.publish(&compiled).expect("published");
        Some(Self { kernel, policy, slots: 0, _alone: alone })
    }

    /// An invocation without tasks.
    fn invocation(&mut self) -> Tag {
        self.slots += 1;
        let (state, policy) = (state::ACTIVE, self.policy);
        let tag = Tag { slot: self.slots, generation: 1 };
        let invocation =
            Invocation { generation: 1, state, policy, expires_ns: u64::MAX, ..Invocation::default() };
        self.kernel.start(tag.slot, invocation);
        tag
    }

    fn tasks(&self, tag: Tag) -> u64 {
        self.kernel.invocation(tag.slot).tasks
    }

    fn tag_of(&self, pid: u32) -> Option<Tag> {
        self.kernel.tag_of(pidfd_open(pid).ok()?.as_fd())
    }

    fn await_tasks(&self, tag: Tag, tasks: u64) {
        await_that(&format!("{tasks} tasks"), || self.tasks(tag) == tasks, || self.tasks(tag).to_string());
    }
}

fn await_that(what: &str, is: impl Fn() -> bool, found: impl Fn() -> String) {
    let give_up = Instant::now() + DEADLINE;
    while !is() {
        assert!(Instant::now() < give_up, "not {what}: {}", found());
        std::thread::sleep(Duration::from_millis(1)); // nobody tells
    }
}

/// A program that tells each step with a line, and goes on when told to. Killed with its process group in the end.
struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    fn python(script: &str, arguments: &[&str]) -> Self {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script]).args(arguments).process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it tells.
    fn told(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().expect("piped").write_all(b"\n").expect("it reads");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: takes integers; the child is not reaped yet, so its group is its own.
        unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

const THREADS: &str = "
import os, sys, threading, time
def idle():
    threading.Thread(target=time.sleep, args=(100000,), daemon=True).start()
[idle() for _ in range(4)]
child = os.fork()
if child == 0:
    time.sleep(100000)
print(child, flush=True)
sys.stdin.readline()
idle()
grandchild = os.fork()
if grandchild == 0:
    time.sleep(100000)
print(grandchild, flush=True)
sys.stdin.readline()
";

/// The tag of a thread, where the kernel opens pidfds of threads.
fn tag_of_thread(plane: &Plane, tid: u32) -> Option<Option<Tag>> {
    const PIDFD_THREAD: i32 = libc::O_EXCL;
    // SAFETY: a system call without memory arguments.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tid, PIDFD_THREAD) };
    if fd < 0 {
        return None;
    }
    // SAFETY: a fresh fd that nothing else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    Some(plane.kernel.tag_of(fd.as_fd()))
}

/// The entries of a directory that are numbers.
fn numbers(directory: &str) -> impl Iterator<Item = u32> + use<> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

fn threads(pid: u32) -> Vec<u32> {
    numbers(&format!("/proc/{pid}/task")).collect()
}

#[test]
fn threads_and_children_of_an_adopted_process_are_tagged_and_counted() {
    let Some(mut plane) = Plane::new() else { return };
    let mut program = Program::python(THREADS, &[]);
    let child = program.told().parse().expect("a pid");
    let tag = plane.invocation();
    let adopted = plane.kernel.adopt(program.pid(), tag).expect("adopted");
    assert_eq!((adopted.tasks, plane.tasks(tag)), (6, 6));
    for tid in threads(program.pid()).into_iter().chain([child]) {
        assert!(tag_of_thread(&plane, tid).is_none_or(|found| found == Some(tag)), "thread {tid}");
    }
    program.go_on();
    let grandchild: u32 = program.told().parse().expect("a pid");
    assert_eq!(
        (plane.tag_of(grandchild), plane.tasks(tag)),
        (Some(tag), 8),
        "what it makes now is its own too"
    );
    drop(program);
    plane.await_tasks(tag, 0);
}

#[test]
fn what_may_not_be_adopted_is_left_alone() {
    let Some(mut plane) = Plane::new() else { return };
    let mut program = Program::python(THREADS, &[]);
    let child: u32 = program.told().parse().expect("a pid");
    let (one, two) = (plane.invocation(), plane.invocation());
    let mut refusal = |pid: u32| format!("{:#}", plane.kernel.adopt(pid, one).expect_err("refused"));
    let own = std::process::id();
    // SAFETY: takes and returns integers.
    let parent = unsafe { libc::getppid() } as u32;
    for pid in [1, own, parent] {
        assert!(refusal(pid).contains("one of its ancestors"), "{}", refusal(pid));
    }
    assert!(refusal(u32::MAX / 2).contains("No such process") || refusal(u32::MAX / 2).contains("Invalid"));
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        assert!(refusal(2).contains("kernel's own"), "{}", refusal(2));
    }
    plane.kernel.tag(pidfd_open(child).expect("alive").as_fd(), two).expect("tagged");
    let refused = format!("{:#}", plane.kernel.adopt(program.pid(), one).expect_err("refused"));
    assert!(refused.contains("1 of its tasks belong to another invocation"), "{refused}");
    assert_eq!((plane.tag_of(program.pid()), plane.tasks(one)), (None, 0));
}

/// What the tree of [`storm`] is told.
struct Signals {
    go: AtomicU32,
    stop: AtomicU32,
    /// Boot-clock time at which it ends in any case: it would outlive a test that is killed.
    until_ns: AtomicU64,
}

impl Signals {
    fn goes(&self) -> bool {
        self.go.load(Ordering::Relaxed) != 0 || self.stops()
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
            || crate::clock::boot_ns() > self.until_ns.load(Ordering::Relaxed)
    }
}

const HOPPERS: u32 = 12;

/// Processes that, once told to go, all make the next one and end, over and over, while their first parents end too: by
/// then the lineage of none leads to where it came from. Returns the first process, which leads their group.
fn storm(signals: &'static Signals) -> u32 {
    let until = crate::clock::boot_ns() + DEADLINE.as_nanos() as u64 / 4;
    signals.until_ns.store(until, Ordering::Relaxed);
    // SAFETY: the children call only async-signal-safe functions, and end with `_exit`.
    unsafe {
        let root = libc::fork();
        assert!(root >= 0, "fork");
        if root != 0 {
            return root as u32;
        }
        libc::setpgid(0, 0);
        for i in 0..HOPPERS {
            if libc::fork() == 0 {
                if libc::fork() == 0 {
                    hop(signals);
                }
                while !signals.goes() {
                    libc::usleep(50);
                }
                libc::usleep(i * 150);
                libc::_exit(0);
            }
        }
        while !signals.stops() {
            libc::usleep(1000);
        }
        libc::_exit(0);
    }
}

/// # Safety
/// In a process of its own.
unsafe fn hop(signals: &Signals) -> ! {
    // SAFETY: only async-signal-safe functions.
    unsafe {
        while !signals.goes() {
            libc::usleep(50);
        }
        loop {
            libc::usleep(1000);
            if signals.stops() || libc::fork() != 0 {
                libc::_exit(0);
            }
        }
    }
}

/// Processes of a group that are not on their way out, with their state as `/proc` says it.
fn group(leader: u32) -> Vec<(u32, String)> {
    const PF_EXITING: u64 = 4;
    let stat = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
        let ends = matches!(fields[0], "Z" | "X") || fields[6].parse::<u64>().ok()? & PF_EXITING != 0;
        (fields[2] == leader.to_string() && !ends).then(|| (pid, text.clone()))
    };
    numbers("/proc").filter_map(stat).collect()
}

/// Those of a group that the leader is the parent of.
fn children(leader: u32) -> Vec<(u32, String)> {
    let of_leader = |(_, stat): &(u32, String)| {
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&leader.to_string())
    };
    group(leader).into_iter().filter(of_leader).collect()
}

#[test]
fn nobody_escapes_from_a_tree_that_forks_and_ends_while_it_is_adopted() {
    let Some(mut plane) = Plane::new() else { return };
    // So that the orphans of the storm are this process's, not their own tree's.
    nix::sys::prctl::set_child_subreaper(true).expect("subreaper");
    for round in 0..10 {
        let signals = shared();
        let root = storm(signals);
        await_that("started", || group(root).len() > 2 * HOPPERS as usize, || format!("{:?}", group(root)));
        let tag = plane.invocation();
        let start = || {
            signals.go.store(1, Ordering::Relaxed);
            if round % 2 == 0 {
                // By the first pass, that is.
                await_that("orphaned", || children(root).is_empty(), || format!("{:?}", children(root)));
            }
        };
        let adopted = plane.kernel.adopt_and(root, tag, start).expect("adopted");
        let mut seen = 0;
        for _ in 0..10 {
            reap(root);
            for (pid, stat) in group(root) {
                let found = plane.tag_of(pid);
                let left = found.is_none() && group(root).iter().all(|(other, _)| *other != pid);
                assert!(found == Some(tag) || left, "round {round}, {adopted:?}: {pid} escaped: {stat}");
                seen += 1;
            }
        }
        assert!(seen > 0);
        signals.stop.store(1, Ordering::Relaxed);
        await_that("ended", || reap(root), || format!("{:?}", group(root)));
        plane.await_tasks(tag, 0);
    }
}

/// Reaps what has ended of a group of children. True when none is left.
fn reap(leader: u32) -> bool {
    loop {
        // SAFETY: takes integers, and a null pointer for what is not wanted.
        match unsafe { libc::waitpid(-(leader as i32), std::ptr::null_mut(), libc::WNOHANG) } {
            0 => return false,
            -1 => return true,
            _ => {}
        }
    }
}

/// Memory that children share.
fn shared() -> &'static Signals {
    // SAFETY: fresh memory, all zero, which is never unmapped; `Signals` is plain numbers.
    unsafe {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let at = libc::mmap(std::ptr::null_mut(), size_of::<Signals>(), prot, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED, "mmap");
        &*at.cast::<Signals>()
    }
}

mod cgroups;
