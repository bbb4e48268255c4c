//! The kernel plane as the daemon sees it: loading, tags, invocations, policies, rings.

pub mod adopt;
mod armed;
pub mod blocked;
pub mod btf;
pub mod census;
mod identity;
mod mapped;
mod misses;
pub mod pins;
mod policies;
mod preemption;
mod programs;
mod slots;
mod symbols;
mod tables;
mod tools;
pub mod trial;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use agentguard_common::counter::{COUNTERS, Counter};
use agentguard_common::enrolment::Enrolment;
use agentguard_common::invocation::{Control, Invocation, MAX_INVOCATIONS, Tag};
use agentguard_common::offsets::{Sequences, Types};
use agentguard_common::policy::{ARENA_WORDS, MAX_POLICIES, PolicyHeader};
use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData, PerCpuArray};
use aya::{Ebpf, EbpfLoader};
pub use identity::pidfd_open;
use mapped::Mapped;
use pins::Pins;
use programs::{Plan, When};
pub use programs::{Report, cgroup_directory};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use symbols::Shortcuts;
use tables::Tables;
use zerocopy::IntoBytes as _;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/agentguard-bpf"));

/// What this kernel can really enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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

/// The loaded programs and maps. Without pins, dropping it detaches everything; with them, [`Kernel::detach`] does.
pub struct Kernel {
    pins: Option<Pins>,
    ebpf: Ebpf,
    btf: aya::Btf,
    level: Level,
    /// Programs of the second lock that this kernel refused, with why (level `lsm` only).
    pub missing: Vec<String>,
    invocations: Mapped<Invocation>,
    policies: Mapped<PolicyHeader>,
    arena: Mapped<u32>,
    control: Mapped<Control>,
    tables: Tables,
    enrolment: Mapped<Enrolment>,
    armed: armed::Armed,
}

/// Digest of the programs of this build.
fn digest() -> String {
    Sha256::digest(OBJECT).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until every program that runs now has ended: they run in read-side critical sections of RCU, and the kernel
/// waits for those (`MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu`).
fn grace() -> Result<()> {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: a system call without memory arguments.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 { Err(std::io::Error::last_os_error()).context("membarrier") } else { Ok(()) }
}

fn map_fd(map: &Map) -> Result<BorrowedFd<'_>> {
    let data: &MapData = match map {
        Map::Array(d) | Map::HashMap(d) | Map::RingBuf(d) | Map::PerCpuArray(d) | Map::Unsupported(d) => d,
        _ => bail!("unexpected map kind"),
    };
    Ok(data.fd().as_fd())
}

impl Kernel {
    /// The object for `level`, with the shortcuts that the kernel's verifier lets programs take.
    fn object(pins: Option<&Pins>, level: Level, btf: &aya::Btf) -> Result<Ebpf> {
        let offsets = btf::Btf::running()?.offsets()?;
        let mut shortcuts = match level {
            Level::Lsm => Shortcuts::of(btf, &offsets),
            Level::Compat => Shortcuts::default(),
        };
        let object = symbols::linked(OBJECT, shortcuts.cast, &offsets)?;
        let object = &object.as_bytes()[..OBJECT.len()];
        loop {
            let mut ebpf = Self::object_with(object, pins, &offsets, shortcuts)?;
            if shortcuts.types != Types::default() && !programs::loads("tag_trial", &mut ebpf, btf) {
                shortcuts.types = Types::default();
            } else if shortcuts.sequences != Sequences::default()
                && !programs::loads("cache_trial", &mut ebpf, btf)
            {
                shortcuts.sequences = Sequences::default();
            } else {
                return Ok(ebpf);
            }
        }
    }

    fn object_with(
        object: &[u8],
        pins: Option<&Pins>,
        offsets: &[u32; btf::OFFSET_COUNT],
        shortcuts: Shortcuts,
    ) -> Result<Ebpf> {
        let epoch = pins.map_or(0, |pins| pins.epoch);
        let mut loader = EbpfLoader::new();
        loader.allow_unsupported_maps();
        let (Sequences { renames, mounts, kind }, Types { word, storage }) =
            (shortcuts.sequences, shortcuts.types);
        let (sequences, types) = ([renames, mounts, kind], [word, storage]);
        loader.override_global("OFFSETS", offsets, true).override_global("EPOCH", &epoch, true);
        loader.override_global("SEQUENCES", &sequences, true).override_global("TYPES", &types, true);
        for name in pins::SHARED {
            if let Some(pins) = pins {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        loader.load(object).context("loading the eBPF object")
    }

    /// Loads and attaches the programs of `level`, and checks with a tagged child that they bite. With a directory for
    /// pins: takes over what is pinned there already, and leaves everything pinned.
    ///
    /// # Errors
    /// Names the program that the kernel refused, with the kernel's reason. What was not there before is gone again.
    pub fn load(level: Level, pins: Option<&Path>) -> Result<Self> {
        let pins = pins.map(|dir| Pins::open(dir, level, &digest())).transpose()?;
        let adopted = pins.as_ref().is_some_and(|pins| pins.adopted);
        let pinned = pins.as_ref().map(Pins::remover);
        let loaded = Self::set_up(level, pins);
        if let (Err(_), Some(remover), false) = (&loaded, pinned, adopted) {
            remover.remove()?;
        }
        loaded
    }

    /// The maps, with no program loaded.
    fn unattached(level: Level, pins: Option<Pins>) -> Result<Self> {
        let btf = aya::Btf::from_sys_fs()?;
        let ebpf = Self::object(pins.as_ref(), level, &btf)?;
        let fd = |name: &str| map_fd(ebpf.map(name).with_context(|| format!("map {name}"))?);
        let invocations = Mapped::new(fd("INVOCATIONS")?, MAX_INVOCATIONS as usize)?;
        let policies = Mapped::new(fd("POLICIES")?, MAX_POLICIES as usize)?;
        let arena = Mapped::new(fd("ARENA")?, ARENA_WORDS as usize)?;
        let control = Mapped::new(fd("CONTROL")?, 1)?;
        let enrolment = Mapped::new(fd("ENROLMENT")?, 1)?;
        let kernel = Self {
            pins,
            ebpf,
            btf,
            level,
            missing: Vec::new(),
            invocations,
            policies,
            arena,
            control,
            tables: Tables::default(),
            enrolment,
            armed: armed::Armed::default(),
        };
        if !kernel.adopted() {
            let epoch = kernel.epoch();
            kernel
                .control
                .set(0, Control { record_from: epoch, record_to: epoch, counts: epoch, ..Control::IDLE });
        }
        Ok(kernel)
    }

    fn set_up(level: Level, pins: Option<Pins>) -> Result<Self> {
        let mut kernel = Self::unattached(level, pins)?;
        kernel.attach()?;
        kernel.arm()?; // some may live already, and the test needs it
        kernel.self_test()?;
        kernel.take_over()?;
        Ok(kernel)
    }

    fn epoch(&self) -> u32 {
        self.pins.as_ref().map_or(0, |pins| pins.epoch)
    }

    /// Whether there were pinned maps before, whose invocations live on.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.pins.as_ref().is_some_and(|pins| pins.adopted)
    }

    fn attach(&mut self) -> Result<()> {
        preemption::refuse(self.level, &mut self.ebpf, &self.btf)?;
        let plans = Plan::of(self.level, &self.btf);
        let at_times = |plan: &&Plan| matches!(plan.attached, When::Live | When::Cut);
        self.armed.plans = plans.iter().filter(at_times).copied().collect();
        let cuts = self.control.get(0).cut_from_ns != u64::MAX;
        for plan in plans {
            let wanted = plan.attached == When::Always || plan.attached == When::Cut && cuts;
            if self.pins.as_ref().is_some_and(|pins| pins.has(plan.name)) && plan.attached == When::Always {
                continue; // by an earlier daemon of this build
            }
            let loaded = plan.load(&mut self.ebpf, &self.btf);
            let placed = loaded.and_then(|()| if wanted { self.arm_one(plan, true) } else { Ok(()) });
            match placed {
                // Kernels before 6.13 do not let cgroup programs see task storage; the LSM hooks decide the same.
                Err(_) if plan.is_second_lock(self.level) => self.missing.push(plan.name.to_owned()),
                other => other?,
            }
        }
        Ok(())
    }

    /// Attaches a program that is loaded, and pins the link.
    fn place(&mut self, plan: Plan) -> Result<()> {
        let link = plan.attach(&mut self.ebpf)?;
        match &self.pins {
            Some(pins) => pins.keep(plan.name, link.held(&mut self.ebpf)?),
            None => Ok(()),
        }
    }

    /// Makes this build's programs the ones that record and count, and detaches those of other builds. Enforcement does
    /// not depend on it: all that are attached enforce.
    fn take_over(&mut self) -> Result<()> {
        let succeeds = self.pins.as_ref().is_some_and(|pins| !pins.others().is_empty());
        if succeeds && self.enrolment.get(0).selectors != 0 {
            self.arm_one(Plan::moved(), true)?;
        }
        let Some(pins) = &self.pins else { return Ok(()) };
        if !pins.others().is_empty() {
            let to = pins.epoch;
            self.control.set(0, Control { record_to: to, ..self.control.get(0) });
            grace().context("waiting for programs of the build before")?; // of which none records alone any more
            self.control
                .set(0, Control { record_from: to, record_to: to, counts: to, ..self.control.get(0) });
            pins.retire_others()?;
        }
        let epoch = pins.epoch;
        let now = self.control.get(0);
        self.control.set(0, Control { record_from: epoch, record_to: epoch, counts: epoch, ..now });
        Ok(())
    }

    /// Detaches everything that is pinned, and removes the maps.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn detach(&self) -> Result<()> {
        match &self.pins {
            Some(pins) => pins.remover().remove(),
            None => Ok(()),
        }
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
    pub fn best(pins: Option<&Path>) -> Result<(Self, Option<String>)> {
        // What lives on at one level is taken over at it.
        if let Some(level) = pins.and_then(pins::level) {
            return Ok((
                Self::load(level, pins)?,
                Some("invocations of an earlier daemon are at this level".into()),
            ));
        }
        match Self::load(Level::Lsm, pins) {
            Ok(kernel) => Ok((kernel, None)),
            Err(why) => {
                let why = format!("{why:#}");
                let kernel = Self::load(Level::Compat, pins)
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
        let btf = aya::Btf::from_sys_fs()?;
        let mut ebpf = Self::object(None, level, &btf)?;
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

    /// Descriptors of the rings, denials first.
    ///
    /// # Errors
    /// When the process has no room for more descriptors.
    pub fn rings(&self) -> Result<[OwnedFd; 2]> {
        let ring = |name: &str| -> Result<OwnedFd> {
            let map = self.ebpf.map(name).with_context(|| format!("map {name}"))?;
            Ok(map_fd(map)?.try_clone_to_owned()?)
        };
        Ok([ring("DENIALS")?, ring("EVENTS")?])
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
