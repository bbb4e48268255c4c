//! Offsets of kernel struct members, found in the running kernel's BTF by the control plane and handed to the
//! programs as constants. A missing required member is a refusal to load that names it.

/// Marks an optional member that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident = $strukt:literal . $path:literal $kind:ident;)*) => {
        /// Byte offsets, one per member; the layout of the `OFFSETS` global.
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub struct Offsets { $($(#[$doc])* pub $name: u32,)* }

        impl Offsets {
            /// All zero: what the object file holds before the loader fills it in.
            pub const ZERO: Self = Self { $($name: 0,)* };
            /// Struct, member path (dots descend), and whether every kernel must have the member; in field order.
            pub const MEMBERS: &'static [Member] = &[$(Member {
                name: stringify!($name), strukt: $strukt, path: $path, presence: offsets!(@$kind),
            },)*];

            /// Builds the struct from one offset per entry of [`Self::MEMBERS`].
            pub fn from_fn<E>(mut offset: impl FnMut(&'static Member) -> Result<u32, E>) -> Result<Self, E> {
                let mut members = Self::MEMBERS.iter();
                let mut next = || match members.next() { Some(m) => offset(m), None => Ok(ABSENT) };
                Ok(Self { $($name: next()?,)* })
            }
        }
    };
    (@required) => { Presence::Required };
    (@optional) => { Presence::Optional };
    (@typed) => { Presence::Typed };
}

/// Whether a kernel has a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Every kernel must.
    Required,
    /// Where it has not, the offset is [`ABSENT`].
    Optional,
    /// The same, and [`Types`] says whether it has all of these.
    Typed,
}

/// One kernel struct member; or, of a function, a parameter, whose "offset" is its index.
#[derive(Debug)]
pub struct Member {
    pub name: &'static str,
    pub strukt: &'static str,
    pub path: &'static str,
    pub presence: Presence,
}

/// The instruction that calls `bpf_rdonly_cast`, as the object file holds it: aya knows no functions of the kernel, so the
/// loader writes the function's BTF id over the upper half.
pub const CAST_CALL: u64 = (CAST_PLACEHOLDER as u64) << 32 | 0x2085; // BPF_JMP | BPF_CALL, BPF_PSEUDO_KFUNC_CALL
const CAST_PLACEHOLDER: u32 = 0x5ca5_7ca1;

/// The first of the numbers that stand for members in loads.
const FIRST_MARK: usize = 0x7e00;

/// What a load has for its offset, as the object file holds it: it stands for entry `index` of [`Offsets::MEMBERS`],
/// and the loader writes that member's offset. Nothing that programs load from reaches that far.
///
/// An instruction can't say that a member is absent. Of a [`Presence::Typed`] one the program asks [`Types`] before.
#[must_use]
pub const fn mark(index: usize) -> i32 {
    let Member { presence, .. } = &Offsets::MEMBERS[index];
    assert!(!matches!(presence, Presence::Optional), "an instruction can't say that a member is absent");
    assert!(FIRST_MARK + index <= i16::MAX as usize);
    (FIRST_MARK + index) as i32
}

/// Which member the instruction `word` loads, if its offset is a [`mark`].
#[must_use]
pub const fn marked(word: u64) -> Option<usize> {
    let is_load = word & 0xffff_ffff_0000_00e7 == 0x61; // BPF_LDX | BPF_MEM of any size; no constant
    let offset = (word >> 16 & 0xffff) as usize;
    let is_mark = FIRST_MARK <= offset && offset < FIRST_MARK + Offsets::MEMBERS.len();
    if is_load && is_mark { Some(offset - FIRST_MARK) } else { None }
}

/// The load `word` with this offset in place of its mark. `None` if an instruction does not reach that far.
#[must_use]
pub const fn with_offset(word: u64, offset: u32) -> Option<u64> {
    if offset < FIRST_MARK as u32 { Some(word & !0xffff_0000 | (offset as u64) << 16) } else { None }
}

/// Addresses of the kernel's sequence locks, from its symbols; 0 where they are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sequences {
    /// `rename_lock`: odd while a directory entry moves, and another number afterwards.
    pub renames: u64,
    /// `mount_lock`: the same of mounts.
    pub mounts: u64,
    /// BTF id of `struct seqcount`, which both begin with; 0 where the kernel has no `bpf_rdonly_cast`, which makes reading
    /// them a load instead of a helper call.
    pub kind: u64,
}

/// BTF ids of structs by which programs read what only the kernel's helpers have pointers to; 0 where the kernel has no
/// `bpf_rdonly_cast`, or not all of what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Types {
    /// `struct timespec64`, which begins with a number of 64 bits: what is read by it is a number to the verifier, and no
    /// pointer.
    pub word: u64,
    /// `struct bpf_local_storage`, where the kernel keeps what programs store with a task.
    pub storage: u64,
}

offsets! {
    file_path = "file"."f_path" required;
    file_dentry = "file"."f_path.dentry" required;
    file_mnt = "file"."f_path.mnt" required;
    file_mode = "file"."f_mode" required;
    file_flags = "file"."f_flags" required;
    file_inode = "file"."f_inode" required;
    path_dentry = "path"."dentry" required;
    path_mnt = "path"."mnt" required;
    dentry_parent = "dentry"."d_parent" required;
    dentry_name = "dentry"."d_name" required;
    dentry_name_text = "dentry"."d_name.name" required;
    dentry_name_len = "dentry"."d_name.len" required;
    dentry_inode = "dentry"."d_inode" required;
    dentry_flags = "dentry"."d_flags" required;
    /// Where the kernel keeps a short name; another member from 6.15 on.
    dentry_iname = "dentry"."d_iname" optional;
    dentry_shortname = "dentry"."d_shortname" optional;
    dentry_sb = "dentry"."d_sb" required;
    qstr_len = "qstr"."len" required;
    qstr_name = "qstr"."name" required;
    mount_mnt = "mount"."mnt" required;
    mount_parent = "mount"."mnt_parent" required;
    mount_mountpoint = "mount"."mnt_mountpoint" required;
    mount_ns = "mount"."mnt_ns" required;
    vfsmount_root = "vfsmount"."mnt_root" required;
    vfsmount_sb = "vfsmount"."mnt_sb" required;
    sb_magic = "super_block"."s_magic" required;
    sb_flags = "super_block"."s_flags" required;
    sb_mounts = "super_block"."s_mounts" required;
    /// Links the mounts of a file system in a list; newer kernels chain them by [`Self::mount_next`].
    mount_instance = "mount"."mnt_instance" optional;
    mount_next = "mount"."mnt_next_for_sb" optional;
    inode_mode = "inode"."i_mode" required;
    inode_nlink = "inode"."i_nlink" required;
    task_pid = "task_struct"."pid" required;
    task_tgid = "task_struct"."tgid" required;
    task_real_parent = "task_struct"."real_parent" required;
    task_flags = "task_struct"."flags" required;
    task_group_leader = "task_struct"."group_leader" required;
    task_thread_pid = "task_struct"."thread_pid" required;
    task_children = "task_struct"."children" required;
    task_sibling = "task_struct"."sibling" required;
    task_started = "task_struct"."start_boottime" required;
    task_cgroups = "task_struct"."cgroups" required;
    css_set_cgroup = "css_set"."dfl_cgrp" required;
    cgroup_self = "cgroup"."self" required;
    cgroup_parent = "cgroup"."self.parent" required;
    cgroup_kn = "cgroup"."kn" required;
    kernfs_id = "kernfs_node"."id" required;
    task_exit_code = "task_struct"."exit_code" required;
    task_comm = "task_struct"."comm" required;
    task_exit_state = "task_struct"."exit_state" required;
    task_state = "task_struct"."__state" required;
    task_vfork_done = "task_struct"."vfork_done" required;
    pid_level = "pid"."level" required;
    pid_numbers = "pid"."numbers" required;
    upid_nr = "upid"."nr" required;
    task_cred = "task_struct"."cred" required;
    task_real_cred = "task_struct"."real_cred" required;
    cred_uid = "cred"."uid" required;
    cred_gid = "cred"."gid" required;
    task_nsproxy = "task_struct"."nsproxy" required;
    task_bpf_storage = "task_struct"."bpf_storage" required;
    task_fs = "task_struct"."fs" required;
    task_files = "task_struct"."files" required;
    fs_pwd = "fs_struct"."pwd" required;
    files_fdt = "files_struct"."fdt" required;
    fdtable_fd = "fdtable"."fd" required;
    fdtable_max_fds = "fdtable"."max_fds" required;
    nsproxy_mnt_ns = "nsproxy"."mnt_ns" required;
    bprm_file = "linux_binprm"."file" required;
    socket_sk = "socket"."sk" required;
    socket_type = "socket"."type" required;
    sk_family = "sock_common"."skc_family" required;
    sk_protocol = "sock"."sk_protocol" required;
    sk_num = "sock_common"."skc_num" required;
    sk_peer4 = "sock_common"."skc_daddr" required;
    sk_peer6 = "sock_common"."skc_v6_daddr" optional;
    sk_peer_port = "sock_common"."skc_dport" required;
    vma_file = "vm_area_struct"."vm_file" required;
    vma_anon = "vm_area_struct"."anon_vma" required;
    /// The first parameter of this hook from 6.9 on; before it does not exist.
    setattr_idmap = "bpf_lsm_inode_setattr"."idmap" optional;
    iattr_valid = "iattr"."ia_valid" required;
    nsproxy_ipc_ns = "nsproxy"."ipc_ns" required;
    ipc_ns_mq_mnt = "ipc_namespace"."mq_mnt" optional;
    msghdr_name = "msghdr"."msg_name" required;
    msghdr_namelen = "msghdr"."msg_namelen" required;
    msghdr_control = "msghdr"."msg_control" required;
    msghdr_controllen = "msghdr"."msg_controllen" required;
    proc_inode_pid = "proc_inode"."pid" required;
    proc_inode_vfs = "proc_inode"."vfs_inode" required;
    /// Present from 6.5 on: stacked file systems open the lower file with a `backing_file`.
    backing_file = "backing_file"."file" optional;
    /// The elements of a task's storage that were asked for last, each at the place of its map.
    storage_cache = "bpf_local_storage"."cache" typed;
    storage_map_place = "bpf_local_storage_map"."cache_idx" typed;
    storage_element_map = "bpf_local_storage_data"."smap" typed;
    storage_element_value = "bpf_local_storage_data"."data" typed;
    /// All elements of a task's storage.
    storage_list = "bpf_local_storage"."list.first" typed;
    storage_element_next = "bpf_local_storage_elem"."snode.next" typed;
    storage_element_link = "bpf_local_storage_elem"."snode" typed;
    storage_element_data = "bpf_local_storage_elem"."sdata" typed;
    unix_sock_addr = "unix_sock"."addr" required;
    unix_sock_path = "unix_sock"."path" required;
    unix_address_len = "unix_address"."len" required;
    unix_address_name = "unix_address"."name" required;
}
