//! What the kernel plane remembers of directories is never stale: while an agent opens the same file all the time, others
//! move the directory, those above it, and the mount that it is on, between a place whose files may be read and one whose
//! files may not. A shared page tells which place it was: an open that begins and ends in the same epoch must be decided
//! as the one rule says about the path of that epoch.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agentguard_tests::{Level, Site, level};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Moves of each kind. After every second one the mover waits until the agent has decided some at rest.
const MOVES: u64 = 300;
/// Opens at rest that the mover waits for.
const AT_REST: u64 = 4;

/// Opens `f` in the directory `argv[1]` until told to end. The page at `argv[2]`: epoch (odd while something moves, and
/// otherwise twice the number of moves), opens that were decided at rest, whether to end.
const AGENT: &str = r#"
import mmap, os, sys
page = memoryview(mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 4096)).cast("Q")
directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
allowed = denied = unsettled = 0
print("opens", flush=True)
while not page[2]:
    before = page[0]
    try:
        os.close(os.open("f", os.O_RDONLY, dir_fd=directory))
        opened = True
    except PermissionError:
        opened = False
    if page[0] != before or before % 2:
        unsettled += 1
        continue
    page[1] += 1
    if opened != (before // 2 % 2 == 0):
        print("wrong", "allowed" if opened else "denied", "in epoch", before, flush=True)
    elif opened:
        allowed += 1
    else:
        denied += 1
print("decided", allowed, denied, unsettled)
"#;

/// Opens `secret` in the directory `argv[1]` until told to end, and beside it the file that moves between that and
/// `argv[2]`. The page is as above.
const KEEPER: &str = r#"
import mmap, os, sys
closed, open_, page = sys.argv[1], sys.argv[2], sys.argv[3]
page = memoryview(mmap.mmap(os.open(page, os.O_RDWR), 4096)).cast("Q")
if os.fork() == 0:
    while not page[2]:
        for directory in (closed, open_):
            try:
                os.close(os.open(directory + "/moves", os.O_RDONLY))
            except OSError:
                pass
    os._exit(0)
print("opens", flush=True)
while not page[2]:
    try:
        os.close(os.open(closed + "/secret", os.O_RDONLY))
        print("wrong: opened in epoch", page[0], flush=True)
    except PermissionError:
        pass
    page[1] += 1
os.wait()
"#;

/// A page that test and agent share.
struct Page(std::fs::File);

impl Page {
    fn get(&self, word: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, word * 8).expect("reading the page");
        u64::from_ne_bytes(bytes)
    }

    fn set(&self, word: u64, value: u64) {
        self.0.write_all_at(&value.to_ne_bytes(), word * 8).expect("writing the page");
    }
}

/// Where everything is: on a temporary file system, which does not move files by itself.
struct Scene {
    site: Site,
    page: Page,
}

impl Scene {
    fn new() -> Self {
        let site = Site::within(Path::new("/run"));
        std::fs::create_dir(site.path("open")).expect("mkdir");
        std::fs::create_dir(site.path("closed")).expect("mkdir");
        let page = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(site.path("workspace/page"));
        let page = page.expect("the page");
        page.set_len(4096).expect("the page");
        Self { site, page: Page(page) }
    }

    /// A path below the place whose files may be read, or not.
    fn place(&self, open: bool, name: &str) -> PathBuf {
        self.site.path(if open { "open" } else { "closed" }).join(name)
    }

    /// Runs the agent in `directory`, and `flip(i)` beside it, which moves to the place of even or odd `i`.
    fn watch(&self, directory: &Path, flip: impl Fn(bool)) {
        let directory = directory.to_str().expect("UTF-8");
        let wanted = |i| if i % 2 == 0 { AT_REST } else { u64::from(i % 3 == 0) };
        let output = self.moves(&[AGENT, directory], wanted, flip);
        let last = output.lines().last().expect("a result");
        let counts: Vec<u64> = last.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert!(counts[0] >= MOVES && counts[1] >= MOVES / 6, "too few decisions to mean anything: {last}");
    }

    /// Runs an agent, a script and its arguments but for the page, and `flip` beside it: after each the agent is to decide as
    /// many at rest as `wanted` says. Returns what it said, of which nothing is wrong.
    fn moves(&self, agent: &[&str], wanted: impl Fn(u64) -> u64, flip: impl Fn(bool)) -> String {
        let (site, page) = (&self.site, &self.page);
        let files = format!(
            "    - allow: [read]\n      paths: [\"{}/**\"]\n    - allow: [read, write]\n      paths: [\"{}\"]",
            site.at("open"),
            site.at("workspace/page")
        );
        let policy = site.policy("cache", &files, "");
        let shared = site.at("workspace/page");
        let mut argv = vec![agentguard_tests::agent::PYTHON, "-c"];
        argv.extend(agent);
        argv.push(&shared);
        let agent = site.agent(&policy).spawn(argv);
        agent.await_line("opens");
        for i in 1..=MOVES {
            page.set(0, 2 * i - 1);
            flip(i % 2 == 0);
            page.set(0, 2 * i);
            let decided = page.get(1);
            let give_up = Instant::now() + level::deadline();
            while page.get(1) < decided + wanted(i) {
                assert!(Instant::now() < give_up, "the agent decides nothing any more");
                thread::yield_now();
            }
        }
        page.set(2, 1);
        let (status, output) = agent.finish();
        assert!(status.success() && !output.stdout.contains("wrong"), "{output}");
        output.stdout
    }
}

/// Ends the thread that renames, also when the test fails.
struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Renames what is at one of two paths to the other: to `here` when asked for the open place.
fn renaming(here: &Path, there: &Path) -> impl Fn(bool) {
    move |open| {
        let (from, to) = if open { (there, here) } else { (here, there) };
        std::fs::rename(from, to).expect("rename");
    }
}

fn skipped(name: &str) -> bool {
    level::skipped_unless(Level::Lsm, name, "level compat has Landlock, which keeps no states of paths")
}

#[test]
fn a_directory_that_moves_is_decided_about_where_it_is() {
    if skipped("a_directory_that_moves_is_decided_about_where_it_is") {
        return;
    }
    let scene = Scene::new();
    let daemon = scene.site.daemon();
    let (here, there) = (scene.place(true, "d"), scene.place(false, "d"));
    std::fs::create_dir(&here).expect("mkdir");
    std::fs::write(here.join("f"), "").expect("write");
    scene.watch(&here, renaming(&here, &there));
    daemon.stop(&scene.site, libc::SIGTERM);
}

#[test]
fn so_is_one_below_directories_that_change_places_while_others_rename() {
    if skipped("so_is_one_below_directories_that_change_places_while_others_rename") {
        return;
    }
    let scene = Scene::new();
    let daemon = scene.site.daemon();
    let (here, there) = (scene.place(true, "a"), scene.place(false, "b"));
    let deep = here.join("c/d/e");
    std::fs::create_dir_all(&deep).expect("mkdir");
    std::fs::create_dir_all(&there).expect("mkdir");
    std::fs::write(deep.join("f"), "").expect("write");
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        let _done = Done(&done);
        threads.spawn(|| {
            let [one, other] = ["outside/1", "outside/2"].map(|name| scene.site.path(name));
            std::fs::write(&one, "").expect("write");
            while !done.load(Ordering::Relaxed) {
                std::fs::rename(&one, &other).and_then(|()| std::fs::rename(&other, &one)).expect("rename");
                thread::sleep(Duration::from_millis(1)); // the agent and the mover need the processors
            }
        });
        scene.watch(&deep, |_| {
            renameat2(AT_FDCWD, &here, AT_FDCWD, &there, RenameFlags::RENAME_EXCHANGE).expect("exchange");
        });
    });
    daemon.stop(&scene.site, libc::SIGTERM);
}

#[test]
fn so_is_one_on_a_mount_that_moves() {
    if skipped("so_is_one_on_a_mount_that_moves") {
        return;
    }
    let scene = Scene::new();
    let daemon = scene.site.daemon();
    let (here, there) = (scene.place(true, "m"), scene.place(false, "m"));
    for directory in [&here, &there] {
        std::fs::create_dir(directory).expect("mkdir");
    }
    let none: Option<&str> = None;
    mount(Some("cache-test"), &here, Some("tmpfs"), MsFlags::empty(), none).expect("mount");
    let deep = here.join("d");
    std::fs::create_dir(&deep).expect("mkdir");
    std::fs::write(deep.join("f"), "").expect("write");
    scene.watch(&deep, |open| {
        let (from, to) = if open { (&there, &here) } else { (&here, &there) };
        mount(Some(from), to, none, MsFlags::MS_MOVE, none).expect("moving a mount");
    });
    for directory in [&here, &there] {
        let _ = umount2(directory, MntFlags::MNT_DETACH); // it is on one of them
    }
    daemon.stop(&scene.site, libc::SIGTERM);
}

#[test]
fn a_file_that_moves_says_nothing_of_the_directory_that_it_was_in() {
    if skipped("a_file_that_moves_says_nothing_of_the_directory_that_it_was_in") {
        return;
    }
    let scene = Scene::new();
    let daemon = scene.site.daemon();
    let (here, there) = (scene.place(true, "moves"), scene.place(false, "moves"));
    std::fs::write(&here, "").expect("write");
    std::fs::write(scene.place(false, "secret"), "").expect("write");
    let [closed, open] = ["closed", "open"].map(|name| scene.site.at(name));
    scene.moves(&[KEEPER, &closed, &open], |_| AT_REST, renaming(&here, &there));
    daemon.stop(&scene.site, libc::SIGTERM);
}
