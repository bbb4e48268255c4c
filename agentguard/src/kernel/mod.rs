//! The kernel plane as the daemon sees it: loading, tags, invocations, policies, rings.

pub mod btf;
mod mapped;
mod programs;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use agentguard_common::counter::{COUNTERS, Counter};
use agentguard_common::invocation::{Control, Invocation, MAX_INVOCATIONS, Tag};
use agentguard_common::policy::{ARENA_WORDS, MAX_POLICIES, PolicyHeader};
use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use aya::programs::BtfTracePoint;
use aya::{Ebpf, EbpfLoader};
use mapped::Mapped;
use programs::Plan;
pub use programs::Report;
use serde::{Deserialize, Serialize};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/agentguard-bpf"));

/// What this kernel can really enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Lsm,
    Compat,
}

impl Level {
    /// The name used everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Compat => "compat",
        }
    }
}

/// The loaded programs and maps. Dropping it detaches everything.
pub struct Kernel {
    ebpf: Ebpf,
    btf: aya::Btf,
    level: Level,
    /// Programs of the second lock that this kernel refused, with why (level `lsm` only).
    pub missing: Vec<String>,
    invocations: Mapped<Invocation>,
    policies: Mapped<PolicyHeader>,
    arena: Mapped<u32>,
    control: Mapped<Control>,
    arena_used: u32,
    policies_used: u32,
    armed: bool,
}

fn map_fd(map: &Map) -> Result<BorrowedFd<'_>> {
    let data: &MapData = match map {
        Map::Array(d) | Map::HashMap(d) | Map::RingBuf(d) | Map::PerCpuArray(d) | Map::Unsupported(d) => d,
        _ => bail!("unexpected map kind"),
    };
    Ok(data.fd().as_fd())
}

impl Kernel {
    fn object() -> Result<Ebpf> {
        let offsets = btf::Btf::running()?.offsets()?;
        EbpfLoader::new()
            .allow_unsupported_maps()
            .override_global("OFFSETS", &offsets, true)
            .load(OBJECT)
            .context("loading the eBPF object")
    }

    /// Loads and attaches the programs of `level`, and checks with a tagged child that they bite.
    ///
    /// # Errors
    /// Names the program that the kernel refused, with the kernel's reason.
    pub fn load(level: Level) -> Result<Self> {
        let ebpf = Self::object()?;
        let fd = |name: &str| map_fd(ebpf.map(name).with_context(|| format!("map {name}"))?);
        let invocations = Mapped::new(fd("INVOCATIONS")?, MAX_INVOCATIONS as usize)?;
        let policies = Mapped::new(fd("POLICIES")?, MAX_POLICIES as usize)?;
        let arena = Mapped::new(fd("ARENA")?, ARENA_WORDS as usize)?;
        let control = Mapped::new(fd("CONTROL")?, 1)?;
        control.set(0, Control { recheck_from_ns: u64::MAX, reserved: 0 });
        let btf = aya::Btf::from_sys_fs()?;
        let mut kernel = Self {
            ebpf,
            btf,
            level,
            missing: Vec::new(),
            invocations,
            policies,
            arena,
            control,
            arena_used: 16,
            policies_used: 1,
            armed: false,
        };
        kernel.attach()?;
        kernel.self_test()?;
        Ok(kernel)
    }

    fn attach(&mut self) -> Result<()> {
        for plan in Plan::of(self.level, &self.btf) {
            let placed = plan.load(&mut self.ebpf, &self.btf).and_then(|()| plan.attach(&mut self.ebpf));
            match placed {
                // Kernels before 6.13 do not let cgroup programs see task storage; the LSM hooks decide the same.
                Err(_) if plan.is_second_lock(self.level) => self.missing.push(plan.name.to_owned()),
                other => other?,
            }
        }
        Ok(())
    }

    /// The level in force.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// The best level this kernel has, and why not a higher one, found by loading and by a tagged child's requests.
    ///
    /// # Errors
    /// When not even level `compat` works.
    pub fn best() -> Result<(Self, Option<String>)> {
        match Self::load(Level::Lsm) {
            Ok(kernel) => Ok((kernel, None)),
            Err(why) => {
                let why = format!("{why:#}");
                let kernel = Self::load(Level::Compat)
                    .with_context(|| format!("level lsm: {why}; level compat does not load either"))?;
                Ok((kernel, Some(why)))
            }
        }
    }

    /// Loads every program of `level`, attaching none, and reports what the verifier made of each.
    ///
    /// # Errors
    /// When the object itself does not load. A program that does not is reported.
    pub fn reports(level: Level) -> Result<Vec<Report>> {
        let mut ebpf = Self::object()?;
        let btf = aya::Btf::from_sys_fs()?;
        Ok(Plan::of(level, &btf).into_iter().map(|plan| plan.report(&mut ebpf, &btf)).collect())
    }

    /// A child with a tag that leads nowhere must be refused a file (level `lsm`) and a socket.
    fn self_test(&self) -> Result<()> {
        let (mut reader, mut writer) = std::io::pipe()?;
        // SAFETY: the child calls only async-signal-safe functions (read, open, socket, _exit).
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let mut byte = 0u8;
            // SAFETY: as above.
            unsafe {
                libc::close(writer.as_raw_fd());
                libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1);
                let file = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) >= 0;
                let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) >= 0;
                libc::_exit(i32::from(file) | i32::from(socket) << 1);
            }
        }
        if pid < 0 {
            bail!("fork: {}", std::io::Error::last_os_error());
        }
        let tagged = pidfd_open(pid as u32)
            .and_then(|pidfd| self.tag(pidfd.as_fd(), Tag { slot: 0, generation: u32::MAX }));
        std::io::Write::write_all(&mut writer, b"g")?;
        let _ = std::io::Read::by_ref(&mut reader);
        let mut status = 0;
        // SAFETY: reaps the child forked above.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        tagged.context("self test: tagging a child")?;
        let through = libc::WEXITSTATUS(status);
        if self.level == Level::Lsm && through & 1 != 0 {
            bail!(
                "self test: the LSM programs attached, but a barred task could open a file (is `bpf` in lsm=?)"
            );
        }
        if through & 2 != 0 {
            bail!("self test: a barred task could make a socket");
        }
        Ok(())
    }

    fn storage(&self) -> Result<i32> {
        let map = self.ebpf.map("TASK_TAG").context("map TASK_TAG")?;
        Ok(map_fd(map)?.as_raw_fd())
    }

    /// Tags the process behind `pidfd`.
    ///
    /// # Errors
    /// When the process is gone or the kernel refuses.
    pub fn tag(&self, pidfd: BorrowedFd<'_>, tag: Tag) -> Result<()> {
        let mut tag = tag;
        bpf_element(2, self.storage()?, pidfd, &mut tag).context("tagging the process")
    }

    /// The tag of the process behind `pidfd`, if it has one.
    #[must_use]
    pub fn tag_of(&self, pidfd: BorrowedFd<'_>) -> Option<Tag> {
        let mut tag = Tag::default();
        bpf_element(1, self.storage().ok()?, pidfd, &mut tag).ok().map(|()| tag)
    }

    /// Writes a compiled policy beside the others. Returns its index in `POLICIES`.
    ///
    /// # Errors
    /// When the arena or the table of policies is full.
    pub fn publish(
        &mut self,
        len: usize,
        place: impl FnOnce(u32) -> (PolicyHeader, Vec<u32>),
        generation: u32,
    ) -> Result<u32> {
        let free = (ARENA_WORDS - self.arena_used) as usize;
        if len > free {
            bail!("the policy needs {len} words of table, {free} are free; hint: fewer or simpler globs");
        }
        if self.policies_used >= MAX_POLICIES {
            bail!("all {MAX_POLICIES} policy entries are in use");
        }
        let (header, words) = place(self.arena_used);
        for (i, word) in words.iter().enumerate() {
            self.arena.set(self.arena_used as usize + i, *word);
        }
        let index = self.policies_used;
        self.policies.set(index as usize, PolicyHeader { generation: 0, ..header });
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.policies.set(index as usize, PolicyHeader { generation, ..header });
        self.policies_used += 1;
        self.arena_used += words.len() as u32;
        Ok(index)
    }

    /// Fills a slot.
    pub fn start(&self, slot: u32, invocation: Invocation) {
        self.invocations.set(slot as usize, invocation);
        self.recheck_from(invocation.expires_ns);
    }

    /// The slot as the kernel sees it now.
    #[must_use]
    pub fn invocation(&self, slot: u32) -> Invocation {
        self.invocations.get(slot as usize)
    }

    /// Stores the state of a slot: the store that revokes.
    pub fn set_state(&self, slot: u32, state: u32) {
        let entry = self.invocations.at(slot as usize);
        // SAFETY: a field of a live mapping.
        unsafe { (&raw mut (*entry).state).write_volatile(state) };
        // An invocation that ended by itself has nothing to cut.
        if state != agentguard_common::invocation::state::ENDED {
            self.recheck_from(0);
        }
    }

    fn recheck_from(&self, ns: u64) {
        let now = self.control.get(0).recheck_from_ns;
        self.control.set(0, Control { recheck_from_ns: now.min(ns), reserved: 0 });
    }

    /// Attaches or detaches the program that kills barred tasks at their next system call (level `compat`).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn arm_kill(&mut self, on: bool) -> Result<()> {
        if on == self.armed || self.level == Level::Lsm {
            return Ok(());
        }
        let program: &mut BtfTracePoint =
            self.ebpf.program_mut("kill_barred").context("missing program")?.try_into()?;
        if on {
            program.load("sys_enter", &self.btf)?;
            program.attach()?;
        } else {
            program.unload()?;
        }
        self.armed = on;
        Ok(())
    }

    /// The rings, denials first. Can be taken once.
    ///
    /// # Errors
    /// When they were taken already.
    pub fn take_rings(&mut self) -> Result<[RingBuf<MapData>; 2]> {
        let mut take = |name: &str| -> Result<RingBuf<MapData>> {
            let map = self.ebpf.take_map(name).ok_or_else(|| anyhow!("ring {name} was taken"))?;
            Ok(RingBuf::try_from(map)?)
        };
        Ok([take("DENIALS")?, take("EVENTS")?])
    }

    /// Failure counters, summed over CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<[(&'static str, u64); COUNTERS as usize]> {
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.ebpf.map("COUNTERS").context("map COUNTERS")?)?;
        let mut out = [("", 0); COUNTERS as usize];
        for (slot, (name, counter)) in out.iter_mut().zip(Counter::NAMED) {
            *slot = (name, map.get(&(counter as u32), 0)?.iter().sum());
        }
        Ok(out)
    }
}

/// Opens a pidfd.
///
/// # Errors
/// When there is no such process.
pub fn pidfd_open(pid: u32) -> Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: a system call without memory arguments.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("pidfd_open of process {pid}"));
    }
    // SAFETY: a fresh fd that nothing else owns.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd as i32) })
}

/// `BPF_MAP_LOOKUP_ELEM` (1) or `BPF_MAP_UPDATE_ELEM` (2) of task storage, whose key is a pidfd.
fn bpf_element(command: i32, map: i32, pidfd: BorrowedFd<'_>, tag: &mut Tag) -> std::io::Result<()> {
    #[repr(C)]
    struct Attr {
        map: u32,
        pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let key = pidfd.as_raw_fd();
    let attr = Attr {
        map: map as u32,
        pad: 0,
        key: (&raw const key) as u64,
        value: std::ptr::from_mut(tag) as u64,
        flags: 0,
    };
    // SAFETY: the attribute and what it points to live across the call; sizes are the map's key and value.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<Attr>()) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
