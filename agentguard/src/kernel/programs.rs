//! The programs of the kernel plane: what each attaches to, at which level, and what the verifier makes of it.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use aya::programs::cgroup_skb::CgroupSkbLinkId;
use aya::programs::cgroup_sock::CgroupSockLinkId;
use aya::programs::cgroup_sock_addr::CgroupSockAddrLinkId;
use aya::programs::links::FdLink;
use aya::programs::lsm::LsmLinkId;
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Lsm, Program};
use aya::{Btf, Ebpf};
use aya_obj::btf::BtfKind;
use serde::Serialize;

use super::Level;

/// LSM programs: program name and hook.
const LSM: &[(&str, &str)] = &[
    ("task_alloc", "task_alloc"),
    ("file_open", "file_open"),
    ("bprm_check", "bprm_check_security"),
    ("exec_begins", "bprm_creds_for_exec"),
    ("bprm_committed", "bprm_committed_creds"),
    ("path_mknod", "path_mknod"),
    ("path_mkdir", "path_mkdir"),
    ("path_symlink", "path_symlink"),
    ("path_unlink", "path_unlink"),
    ("path_rmdir", "path_rmdir"),
    ("path_truncate", "path_truncate"),
    ("path_chmod", "path_chmod"),
    ("path_chown", "path_chown"),
    ("path_notify", "path_notify"),
    ("path_link", "path_link"),
    ("path_rename", "path_rename"),
    ("socket_create", "socket_create"),
    ("socket_post_create", "socket_post_create"),
    ("socket_connect", "socket_connect"),
    ("socket_bind", "socket_bind"),
    ("socket_sendmsg", "socket_sendmsg"),
    ("sb_mount", "sb_mount"),
    ("sb_umount", "sb_umount"),
    ("sb_pivotroot", "sb_pivotroot"),
    ("move_mount", "move_mount"),
    ("path_chroot", "path_chroot"),
    ("userns_create", "userns_create"),
    ("bpf", "bpf"),
    ("perf_event_open", "perf_event_open"),
    ("syslog", "syslog"),
    ("capable", "capable"),
    ("ptrace_access_check", "ptrace_access_check"),
    ("task_kill", "task_kill"),
    ("file_ioctl", "file_ioctl"),
    ("file_fcntl", "file_fcntl"),
    ("file_receive", "file_receive"),
    ("mmap_file", "mmap_file"),
    ("file_mprotect", "file_mprotect"),
    ("inode_setxattr", "inode_setxattr"),
    ("inode_removexattr", "inode_removexattr"),
    ("inode_setattr", "inode_setattr"),
    ("inode_getxattr", "inode_getxattr"),
    ("inode_create", "inode_create"),
    ("inode_unlink", "inode_unlink"),
    ("unix_stream_connect", "unix_stream_connect"),
    ("unix_may_send", "unix_may_send"),
    ("unix_bind", "socket_bind"),
    ("socket_listen", "socket_listen"),
    ("socket_setsockopt", "socket_setsockopt"),
    ("task_setnice", "task_setnice"),
    ("task_setioprio", "task_setioprio"),
    ("task_setscheduler", "task_setscheduler"),
    ("task_movememory", "task_movememory"),
    ("task_prlimit", "task_prlimit"),
    ("key_permission", "key_permission"),
    ("shm_made", "shm_alloc_security"),
    ("shm_freed", "shm_free_security"),
    ("msg_made", "msg_queue_alloc_security"),
    ("msg_freed", "msg_queue_free_security"),
    ("sem_made", "sem_alloc_security"),
    ("sem_freed", "sem_free_security"),
    ("ipc_permission", "ipc_permission"),
];
/// LSM programs for hooks that only newer kernels have; older ones go through another hook above.
const LSM_NEWER: &[(&str, &str)] = &[
    ("file_ioctl_compat", "file_ioctl_compat"),
    ("inode_set_acl", "inode_set_acl"),
    ("inode_remove_acl", "inode_remove_acl"),
    ("inode_file_setattr", "inode_file_setattr"),
    ("uring_override_creds", "uring_override_creds"),
];
/// Those of the programs above whose hooks every host runs all the time: attached only while an invocation lives
/// (`kernel/armed.rs`), as those below.
const HOT: &[&str] = &[
    "file_open",
    "mmap_file",
    "capable",
    "socket_create",
    "socket_post_create",
    "socket_connect",
    "socket_sendmsg",
    "socket_setsockopt",
    "unix_stream_connect",
    "unix_may_send",
];
/// LSM programs for what is open already.
const OPEN: &[(&str, &str)] = &[
    ("open_permission", "file_permission"),
    ("open_lock", "file_lock"),
    ("open_ioctl", "file_ioctl"),
    ("open_ioctl_compat", "file_ioctl_compat"),
    ("open_fcntl", "file_fcntl"),
    ("open_receive", "socket_recvmsg"),
    ("open_accept", "socket_accept"),
    ("open_option", "socket_getsockopt"),
    ("open_message", "msg_msg_alloc_security"),
];
/// Tracepoints of both levels: program and tracepoint.
pub(super) const TRACEPOINTS: &[(&str, &str)] =
    &[("fork", "sched_process_fork"), ("exited", "sched_process_exit")];
/// Tracepoints of level `compat`, for what LSM programs see at the other.
const COMPAT_TRACEPOINTS: &[(&str, &str)] =
    &[("executed", "sched_process_exec"), ("refused_call", "sys_exit")];
/// The tracepoint that tells of a task moved to another cgroup: attached only while one is selected.
const MOVED: (&str, &str) = ("moved", "cgroup_attach_task");
/// Programs on the root cgroup that stop packets: there from when an invocation may lose its authority, which is when one
/// has an expiry or is about to be revoked. At level `compat` nothing else refuses what is open already, so there they are
/// also while an invocation lives.
const PACKETS: &[&str] = &["cgroup_egress", "cgroup_ingress"];
/// The other programs on the root cgroup.
const CGROUP: &[&str] = &[
    "cgroup_connect4",
    "cgroup_connect6",
    "cgroup_sendmsg4",
    "cgroup_sendmsg6",
    "cgroup_bind4",
    "cgroup_bind6",
    "cgroup_sock_create",
];

/// When a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// Only while an invocation lives (`kernel/armed.rs`).
    Live,
    /// Once packets may have to be stopped (`kernel/armed.rs`), and from then on.
    Cut,
    /// Anew for each use.
    Used,
}

/// A program and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    /// Hook, tracepoint or what is iterated over; empty for cgroup programs, whose kind says it.
    pub(super) place: &'static str,
    pub(super) attached: When,
}

/// A link that the loader holds, and detaches when it is dropped.
pub(super) struct Attached {
    plan: Plan,
    held: Held,
}

enum Held {
    Lsm(LsmLinkId),
    Tracepoint(BtfTracePointLinkId),
    Packets(CgroupSkbLinkId),
    Sockets(CgroupSockLinkId),
    Addresses(CgroupSockAddrLinkId),
}

impl Held {
    const fn of(self, plan: Plan) -> Attached {
        Attached { plan, held: self }
    }
}

impl Attached {
    /// Takes the link out of the loader's hands.
    pub(super) fn held(self, ebpf: &mut Ebpf) -> Result<FdLink> {
        Ok(match (self.plan.program(ebpf)?, self.held) {
            (Program::Lsm(program), Held::Lsm(id)) => program.take_link(id)?.into(),
            (Program::BtfTracePoint(program), Held::Tracepoint(id)) => program.take_link(id)?.into(),
            (Program::CgroupSkb(program), Held::Packets(id)) => program.take_link(id)?.try_into()?,
            (Program::CgroupSock(program), Held::Sockets(id)) => program.take_link(id)?.try_into()?,
            (Program::CgroupSockAddr(program), Held::Addresses(id)) => program.take_link(id)?.try_into()?,
            _ => bail!("the link of {} is of another kind", self.plan.name),
        })
    }
}

/// What the verifier made of one program.
#[derive(Debug, Serialize)]
pub struct Report {
    pub program: &'static str,
    /// LSM hook, tracepoint, what is iterated over, or `cgroup`.
    pub attaches_to: &'static str,
    /// Instructions the verifier looked at, over all paths.
    pub verified_instructions: u32,
    /// Bytes of machine code.
    pub jited_bytes: u32,
    /// Nanoseconds that loading took: verification and compilation.
    pub load_ns: u64,
    /// The kernel's refusal, if it did not load.
    pub error: Option<String>,
    /// Whether the level works without it.
    pub optional: bool,
}

impl Plan {
    /// The programs of `level` on this kernel, in the order in which they are attached.
    pub(super) fn of(level: Level, btf: &Btf) -> Vec<Self> {
        let has = |hook: &str| {
            let function = format!("bpf_lsm_{hook}");
            btf.id_by_type_name_kind(&function, BtfKind::Func).is_ok()
        };
        let plan =
            |&(name, place): &(&'static str, &'static str)| Self { name, place, attached: When::Always };
        let mut all: Vec<_> = TRACEPOINTS.iter().map(plan).collect();
        match level {
            Level::Lsm => {
                let hot = |name| if HOT.contains(&name) { When::Live } else { When::Always };
                all.extend(LSM.iter().map(plan).map(|plan| Self { attached: hot(plan.name), ..plan }));
                all.extend(LSM_NEWER.iter().filter(|(_, hook)| has(hook)).map(plan));
                let open = OPEN.iter().filter(|(_, hook)| has(hook)).map(plan);
                all.extend(open.map(|plan| Self { attached: When::Live, ..plan }));
            }
            Level::Compat => all.extend(COMPAT_TRACEPOINTS.iter().map(plan)),
        }
        all.push(Self::moved());
        all.push(Self { attached: When::Used, ..plan(&("adopt_tasks", "task")) });
        all.extend(PACKETS.iter().map(|name| Self { attached: When::Cut, ..plan(&(name, "")) }));
        all.extend(CGROUP.iter().map(|name| plan(&(name, ""))));
        all.push(Self { attached: When::Used, ..plan(&("census", "task")) });
        all
    }

    /// The program that tells of a task moved to another cgroup.
    pub(super) const fn moved() -> Self {
        Self { name: MOVED.0, place: MOVED.1, attached: When::Used }
    }

    /// Whether the level works without it.
    pub(super) fn is_second_lock(self, level: Level) -> bool {
        level == Level::Lsm && CGROUP.contains(&self.name)
    }

    pub(super) fn program(self, ebpf: &mut Ebpf) -> Result<&mut Program> {
        ebpf.program_mut(self.name).with_context(|| format!("the object has no program {}", self.name))
    }

    pub(super) fn load(self, ebpf: &mut Ebpf, btf: &Btf) -> Result<()> {
        match self.program(ebpf)? {
            Program::Lsm(program) => program.load(self.place, btf),
            Program::BtfTracePoint(program) => program.load(self.place, btf),
            Program::Iter(program) => program.load(self.place, btf),
            Program::CgroupSkb(program) => program.load(),
            Program::CgroupSock(program) => program.load(),
            Program::CgroupSockAddr(program) => program.load(),
            _ => bail!("{} is of no kind that is loaded here", self.name),
        }
        .with_context(|| format!("loading {}", self.name))
    }

    pub(super) fn attach(self, ebpf: &mut Ebpf) -> Result<Attached> {
        let mode = CgroupAttachMode::Single; // links are always multiple; the kernel wants no flags here
        match self.program(ebpf)? {
            Program::Lsm(program) => program.attach().map(|id| Held::Lsm(id).of(self)),
            Program::BtfTracePoint(program) => program.attach().map(|id| Held::Tracepoint(id).of(self)),
            Program::CgroupSkb(program) => {
                let ingress = self.name == "cgroup_ingress";
                let way = if ingress { CgroupSkbAttachType::Ingress } else { CgroupSkbAttachType::Egress };
                program.attach(cgroup_root()?, way, mode).map(|id| Held::Packets(id).of(self))
            }
            Program::CgroupSock(program) => {
                program.attach(cgroup_root()?, mode).map(|id| Held::Sockets(id).of(self))
            }
            Program::CgroupSockAddr(program) => {
                program.attach(cgroup_root()?, mode).map(|id| Held::Addresses(id).of(self))
            }
            _ => bail!("{} is of no kind that is attached here", self.name),
        }
        .with_context(|| format!("attaching {}", self.name))
    }

    /// Loads it and says what came of that.
    pub(super) fn report(self, ebpf: &mut Ebpf, btf: &Btf) -> Report {
        let start = Instant::now();
        let loaded = self.load(ebpf, btf);
        let load_ns = start.elapsed().as_nanos() as u64;
        let info = loaded.and_then(|()| Ok(self.program(ebpf)?.info()?));
        let (verified, jited, error) = match info {
            Ok(info) => (info.verified_instruction_count().unwrap_or(0), info.size_jitted(), None),
            Err(e) => (0, 0, Some(format!("{e:#}"))),
        };
        Report {
            program: self.name,
            attaches_to: if self.place.is_empty() { "cgroup" } else { self.place },
            verified_instructions: verified,
            jited_bytes: jited,
            load_ns,
            error,
            optional: self.is_second_lock(Level::Lsm),
        }
    }
}

/// Whether this kernel lets programs do what the program `trial`, which is never attached, does.
pub(super) fn loads(trial: &str, ebpf: &mut Ebpf, btf: &Btf) -> bool {
    let mut loads = || -> Result<()> {
        let program: &mut Lsm = ebpf.program_mut(trial).context("missing program")?.try_into()?;
        program.load("file_open", btf)?;
        Ok(program.unload()?)
    };
    loads().is_ok()
}

/// The cgroup v2 mount point, also beside v1 hierarchies.
///
/// # Errors
/// When there is none.
pub fn cgroup_directory() -> Result<&'static Path> {
    let candidates = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let found = candidates.into_iter().find(|path| path.join("cgroup.controllers").exists());
    found.context("no cgroup v2 hierarchy is mounted; hint: mount -t cgroup2 none /sys/fs/cgroup")
}

fn cgroup_root() -> Result<File> {
    let path = cgroup_directory()?;
    File::open(path).with_context(|| path.display().to_string())
}
