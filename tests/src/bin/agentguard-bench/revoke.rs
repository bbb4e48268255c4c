//! How long a revoke takes to reach a worker that goes on with what it has open.
//!
//! All times are of the boot clock, which the daemon uses too: just before the request is written to the control socket; just
//! before the store that revokes, as the daemon's answer says; and around each operation of the worker. The worker leaves
//! its times in memory that it shares with the benchmark, because at level compat it is killed a moment later.

use std::fs::File;
use std::io::Error;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use agentguard_tests::agent::Running;
use agentguard_tests::api::Call;
use agentguard_tests::herd::{Herd, quantile};
use agentguard_tests::loopback::udp_to;
use agentguard_tests::{Level, Policy, Site};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde_json::json;

/// Operations that a worker times before it says that it is at work.
const BASELINE: usize = 1000;
/// What a worker does until it is refused.
const KINDS: [&str; 2] = ["send", "read"];
/// Invocations in the larger condition, the worker's included.
const MANY: usize = 1000;
/// Revokes of all of [`MANY`] for one of a single invocation: each has to start them anew.
const FEWER: u32 = 25;

/// Times in nanoseconds; 0 for what did not happen.
#[repr(C)]
struct Page {
    /// When the last operation that was let through began.
    begun: AtomicU64,
    /// When it returned.
    allowed: AtomicU64,
    /// When the first one that was not returned.
    refused: AtomicU64,
    /// How long operations took before.
    baseline: [AtomicU64; BASELINE],
}

impl Page {
    /// The file at `path`, which is made if there is none, as memory.
    fn of(path: &Path) -> &'static Self {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.set_len(size_of::<Self>() as u64).expect("ftruncate");
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping of a whole file, which is as long as the type.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), size_of::<Self>(), protection, flags, file.as_raw_fd(), 0)
        };
        assert_ne!(at, libc::MAP_FAILED, "mmap: {}", Error::last_os_error());
        // SAFETY: it stays mapped, is aligned to a page, and holds nothing but atomics, for which any bytes are valid.
        unsafe { &*at.cast::<Self>() }
    }
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the boot clock");
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// The worker: one operation after the other until one is refused. It then ends, or waits to be killed.
pub(super) fn work(kind: &str, target: &str, page: &str, then: &str) {
    let page = Page::of(Path::new(page));
    let operation: Box<dyn Fn() -> std::io::Result<usize>> = match kind {
        "send" => {
            let socket = udp_to(target.parse().expect("a port")).expect("connect");
            Box::new(move || socket.send(b"x"))
        }
        _ => {
            let file = File::open(target).unwrap_or_else(|e| panic!("{target}: {e}"));
            Box::new(move || file.read_at(&mut [0], 0))
        }
    };
    for took in &page.baseline {
        let start = now();
        operation().expect("nothing is revoked yet");
        took.store(now() - start, Ordering::Relaxed);
    }
    println!("at work");
    loop {
        let begun = now();
        let result = operation();
        let returned = now();
        if let Err(error) = result {
            let refused = matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
            page.refused.store(if refused { returned } else { u64::MAX }, Ordering::SeqCst);
            break;
        }
        page.begun.store(begun, Ordering::Relaxed);
        page.allowed.store(returned, Ordering::Relaxed);
    }
    if then == "killed" {
        loop {
            nix::unistd::pause();
        }
    }
}

/// Gives what runs by `command` the last processor before all others: who waits for a processor says nothing of AgentGuard.
fn undisturbed(mut command: Command) -> Command {
    let mut last = CpuSet::new();
    last.set(std::thread::available_parallelism().map_or(0, |n| n.get() - 1))
        .expect("a processor that exists");
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: async-signal-safe system calls, and what they point to is the closure's own.
    unsafe {
        command.pre_exec(move || {
            sched_setaffinity(Pid::from_raw(0), &last)?;
            if libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) != 0 {
                return Err(Error::last_os_error());
            }
            Ok(())
        })
    };
    command
}

/// Figures of one condition, in microseconds.
struct Figures<'f> {
    condition: &'f str,
    kind: &'f str,
    values: Vec<(&'static str, Vec<f64>)>,
}

impl Figures<'_> {
    fn add(&mut self, figure: &'static str, us: f64) {
        match self.values.iter_mut().find(|(name, _)| *name == figure) {
            Some((_, values)) => values.push(us),
            None => self.values.push((figure, vec![us])),
        }
    }

    fn print(mut self) {
        for (figure, values) in &mut self.values {
            values.sort_by(f64::total_cmp);
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| quantile(values, q));
            let line = json!({
                "condition": self.condition, "test": self.kind, "figure": figure, "count": values.len(),
                "p50_us": p50, "p99_us": p99, "max_us": max,
            });
            println!("{line}");
        }
    }
}

/// Where the workers of one condition run.
struct Place<'p> {
    site: &'p Site,
    policy: Policy,
    program: String,
    page_path: String,
    page: &'static Page,
    /// Takes what the workers send, and is never read: what finds no room is dropped.
    sink: UdpSocket,
}

impl<'p> Place<'p> {
    fn new(site: &'p Site) -> Self {
        let sink = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let program = std::env::current_exe().expect("this program").display().to_string();
        let page_path = site.at("workspace/page");
        let page = Page::of(Path::new(&page_path));
        let files = format!(
            "    - allow: [read, exec]\n      paths: [\"{program}\"]\n    - allow: [read, write]\n      paths: [\"{page_path}\"]\n"
        );
        let network = "  network:\n    - allow: connect\n      to: [loopback]\n";
        Self { policy: site.policy("revoke", &files, network), site, program, page_path, page, sink }
    }

    fn port(&self) -> u16 {
        self.sink.local_addr().expect("bound").port()
    }

    /// Starts a worker, revokes it once it is at work, alone or with all others, and adds up how long everything took.
    fn revoke(&self, kind: &str, all: bool, figures: &mut Figures<'_>) {
        self.page.begun.store(0, Ordering::SeqCst);
        self.page.allowed.store(0, Ordering::SeqCst);
        self.page.refused.store(0, Ordering::SeqCst);
        let target = match kind {
            "send" => self.port().to_string(),
            _ => self.program.clone(),
        };
        let level = Level::expected();
        let end = if level == Level::Compat || all { "killed" } else { "ends" };
        let argv = [&self.program, "revoke-work", kind, &target, &self.page_path, end];
        let agent = self.site.agent(&self.policy).options(&["--level", level.name()]);
        let worker = Running::start(self.site, undisturbed(agent.command(argv)), Stdio::null());
        worker.await_line("at work");
        let request = if all {
            json!({ "all": true, "kill": true })
        } else {
            json!({ "invocation": worker.invocation() })
        };
        let (request, call) = (request.to_string(), Call::connect(&self.site.socket()));
        let called = now();
        let answer = call.post("/v1/revoke", &request).unwrap_or_else(|answer| panic!("{answer}"));
        drop(worker.finish());
        let [stored, all_stored] =
            ["first_store_ns", "last_store_ns"].map(|name| answer[name].as_u64().expect("a time"));
        let since = |time: u64, from: u64| time.saturating_sub(from) as f64 / 1e3;
        for took in &self.page.baseline {
            figures.add("operation before", took.load(Ordering::Relaxed) as f64 / 1e3);
        }
        figures.add("call to store", since(stored, called));
        if all {
            figures.add("call to last store", answer["store_us"].as_f64().expect("a duration"));
            figures.add("call to last end", answer["killed_us"].as_f64().expect("a duration"));
        }
        figures.add(
            "begun after the stores, let through",
            since(self.page.begun.load(Ordering::SeqCst), all_stored),
        );
        figures.add("store to end of last success", since(self.page.allowed.load(Ordering::SeqCst), stored));
        match self.page.refused.load(Ordering::SeqCst) {
            0 => figures.add("killed unasked", 0.0), // it had no turn between the store and the kill
            u64::MAX => panic!("{kind} failed, but was not refused"),
            refused => {
                figures.add("store to refusal", since(refused, stored));
                figures.add("call to refusal", since(refused, called));
            }
        }
    }
}

/// Measures every condition, with so many revokes in each.
pub(super) fn run(repeats: u32) {
    let herd = std::env::current_exe().expect("this program").with_file_name("agentguard-herd");
    let kinds = if Level::expected() == Level::Compat { &KINDS[..1] } else { &KINDS[..] };
    let site = Site::default();
    let daemon = site.daemon();
    let place = Place::new(&site);
    let measure = |condition: &str, kind: &str, repeats: u32, others: Option<usize>| {
        let mut figures = Figures { condition, kind, values: Vec::new() };
        for _ in 0..repeats {
            let herd = others.map(|others| Herd::start(&herd, &site, others));
            place.revoke(kind, others.is_some(), &mut figures);
            drop(herd);
        }
        figures.print();
    };
    for kind in kinds {
        measure("1", kind, repeats, None);
    }
    let others = Herd::start(&herd, &site, MANY - 1);
    for kind in kinds {
        measure(&format!("1 of {MANY}"), kind, repeats, None);
    }
    drop(others);
    for kind in kinds {
        measure(&format!("all of {MANY}"), kind, (repeats / FEWER).max(1), Some(MANY - 1));
    }
    daemon.stop(&site, libc::SIGTERM);
}
