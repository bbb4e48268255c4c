//! What comes to a selected cgroup.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::{cgroup_id, own_cgroups};
use super::{DEADLINE, Plane, Program};

/// A cgroup of its own, removed in the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let root = crate::kernel::programs::cgroup_directory().expect("cgroup v2");
        let path = root.join(format!("agentguard-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a cgroup");
        Self(path)
    }

    fn below(&self, name: &str) -> Self {
        let path = self.0.join(name);
        std::fs::create_dir(&path).expect("a cgroup");
        Self(path)
    }

    fn procs(&self) -> String {
        self.0.join("cgroup.procs").to_string_lossy().into_owned()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let give_up = Instant::now() + DEADLINE;
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(1)); // the last process is on its way out
        }
    }
}

/// Moves itself to the cgroup, says so, goes on when told, and then runs another program, which waits.
const MOVED: &str = "
import os, sys
open(sys.argv[1], 'w').write('0')
print('moved', flush=True)
sys.stdin.readline()
os.execv('/usr/bin/python3', ['python3', '-c', 'import sys; print(\"executed\", flush=True); sys.stdin.readline()'])
";

/// Makes a child in the cgroup. Returns its pid.
fn clone_into(cgroup: &Cgroup) -> u32 {
    use std::os::fd::AsRawFd as _;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let directory = std::fs::File::open(&cgroup.0).expect("the cgroup");
    let mut arguments = [0u64; 11]; // `struct clone_args`
    arguments[0] = CLONE_INTO_CGROUP;
    arguments[4] = libc::SIGCHLD as u64;
    arguments[10] = directory.as_raw_fd() as u64;
    // SAFETY: the kernel reads the arguments; the child calls only `pause` and `_exit`.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments));
        assert!(pid >= 0, "clone3: {}", std::io::Error::last_os_error());
        if pid == 0 {
            libc::pause();
            libc::_exit(0);
        }
        pid as u32
    }
}

fn kill_child(pid: u32) {
    // SAFETY: takes integers; the child is not reaped yet, so its number is its own.
    unsafe {
        libc::kill(pid as i32, libc::SIGKILL);
        libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
    }
}

#[test]
fn what_comes_to_a_selected_cgroup_is_tagged_and_stays_so() {
    let Some(mut plane) = Plane::new() else { return };
    let cgroup = Cgroup::new("selected");
    let inner = cgroup.below("inner");
    let elsewhere = Cgroup::new("elsewhere");
    let mut early = Program::python(MOVED, &[&cgroup.procs()]);
    assert_eq!(early.told(), "moved");

    let tag = plane.invocation();
    for id in own_cgroups().expect("its own cgroups") {
        let refused = format!("{:#}", plane.kernel.select_cgroup(id, tag).expect_err("refused"));
        assert!(refused.contains("this daemon lives in"), "{refused}");
    }
    let id = cgroup_id(&cgroup.0).expect("its id");
    let found = plane.kernel.select_cgroup(id, tag).expect("selected");
    assert_eq!(
        (found.tasks, plane.tag_of(early.pid()), plane.tasks(tag)),
        (1, Some(tag), 1),
        "it was there before"
    );
    let mut moved = Program::python(MOVED, &[&inner.procs()]);
    assert_eq!(moved.told(), "moved");
    assert_eq!((plane.tag_of(moved.pid()), plane.tasks(tag)), (Some(tag), 2), "moved below it");
    early.go_on();
    assert_eq!(early.told(), "executed");
    assert_eq!((plane.tag_of(early.pid()), plane.tasks(tag)), (Some(tag), 2), "it executed a program there");
    let born = clone_into(&inner);
    assert_eq!((plane.tag_of(born), plane.tasks(tag)), (Some(tag), 3), "it began there");
    let other = Program::python("import sys; sys.stdin.readline()", &[]);
    assert_eq!(plane.tag_of(other.pid()), None, "it never was there");

    std::fs::write(elsewhere.procs(), moved.pid().to_string()).expect("moved");
    assert_eq!(plane.tag_of(moved.pid()), Some(tag), "it is elsewhere now");
    plane.kernel.deselect_cgroup(id).expect("deselected");
    let late = clone_into(&inner);
    assert_eq!((plane.tag_of(late), plane.tag_of(born)), (None, Some(tag)));
    assert_eq!(plane.tasks(tag), 3);
    kill_child(late);
    kill_child(born);
    drop((early, moved, other));
    plane.await_tasks(tag, 0);
}

#[test]
fn a_selector_tags_nobody_twice() {
    let Some(mut plane) = Plane::new() else { return };
    let (cgroup, other) = (Cgroup::new("one"), Cgroup::new("other"));
    let (one, two) = (plane.invocation(), plane.invocation());
    for (cgroup, tag) in [(&cgroup, one), (&other, two)] {
        plane.kernel.select_cgroup(cgroup_id(&cgroup.0).expect("its id"), tag).expect("selected");
    }
    let mut program = Program::python(MOVED, &[&cgroup.procs()]);
    assert_eq!(program.told(), "moved");
    std::fs::write(other.procs(), program.pid().to_string()).expect("moved");
    program.go_on();
    assert_eq!(program.told(), "executed");
    assert_eq!(plane.tag_of(program.pid()), Some(one), "the first identity is the one it has");
    assert_eq!((plane.tasks(one), plane.tasks(two)), (1, 0));
    let refused = format!("{:#}", plane.kernel.adopt(program.pid(), two).expect_err("it has an identity"));
    assert!(refused.contains("another invocation"), "{refused}");
    drop(program);
    plane.await_tasks(one, 0);
}
