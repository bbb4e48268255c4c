//! Maps and the constants that the loader fills in.

use core::ffi::c_void;

use agentguard_common::Words;
use agentguard_common::counter::{COUNTERS as COUNTER_COUNT, Counter};
use agentguard_common::event::{DENIALS_RING_BYTES, EVENTS_RING_BYTES, HEADER_BYTES, MAX_PATH};
use agentguard_common::invocation::{Control, Invocation, MAX_INVOCATIONS, MAX_TOOLS, Tag, ToolKey};
use agentguard_common::offsets::{Offsets, Sequences, Types};
use agentguard_common::policy::{ARENA_WORDS, MAX_POLICIES, PolicyHeader};
use aya_ebpf::bindings::{BPF_F_CLONE, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_map_type};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};

use crate::cache::Directory;

/// BTF declaration of a local storage map, for which aya has no type.
#[repr(C)]
pub(crate) struct Storage<const KIND: usize, const FLAGS: usize, V = Tag> {
    r#type: *const [i32; KIND],
    key: *const i32,
    value: *const V,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the pointers only carry types into BTF; nothing reads them.
unsafe impl<const KIND: usize, const FLAGS: usize, V> Sync for Storage<KIND, FLAGS, V> {}

impl<const KIND: usize, const FLAGS: usize, V> Storage<KIND, FLAGS, V> {
    pub(crate) const fn new() -> Self {
        use core::ptr::null;
        Self { r#type: null(), key: null(), value: null(), max_entries: null(), map_flags: null() }
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }
}

/// Which invocation a task belongs to.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "TASK_TAG")]
pub(crate) static TASK_TAG: Storage<
    { bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize },
    { BPF_F_NO_PREALLOC as usize },
> = Storage::new();

/// Tasks that the kernel made to work for io_uring: present or not. They lose their own mark before they end.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "TASK_WORKER")]
pub(crate) static TASK_WORKER: Storage<
    { bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize },
    { BPF_F_NO_PREALLOC as usize },
> = Storage::new();

/// The tool that a task is about to become; slot 0 for none.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "TASK_TOOL")]
pub(crate) static TASK_TOOL: Storage<
    { bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize },
    { BPF_F_NO_PREALLOC as usize },
> = Storage::new();

/// Which invocation made a socket. Accepted connections inherit it from the listener.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "SOCKET_TAG")]
pub(crate) static SOCKET_TAG: Storage<
    { bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize },
    { (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize },
> = Storage::new();

/// What is known of a directory: see [`crate::cache`].
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "DIRECTORY")]
pub(crate) static DIRECTORY: Storage<
    { bpf_map_type::BPF_MAP_TYPE_INODE_STORAGE as usize },
    { BPF_F_NO_PREALLOC as usize },
    Directory,
> = Storage::new();

#[map]
pub(crate) static INVOCATIONS: Array<Invocation> = Array::with_max_entries(MAX_INVOCATIONS, BPF_F_MMAPABLE);
#[map]
pub(crate) static POLICIES: Array<PolicyHeader> = Array::with_max_entries(MAX_POLICIES, BPF_F_MMAPABLE);
#[map]
pub(crate) static ARENA: Array<[u32; ARENA_WORDS as usize]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The identities of tools.
#[map]
pub(crate) static TOOLS: HashMap<ToolKey, Tag> = HashMap::with_max_entries(MAX_TOOLS, BPF_F_NO_PREALLOC);
/// Whose a System V IPC object is, by its kernel address; only objects that tagged tasks made.
#[map]
pub(crate) static IPC_OWNER: HashMap<u64, Tag> = HashMap::with_max_entries(16_384, 0);
/// A process of a barred invocation that asks again for an object it has open.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Insistence {
    pub(crate) tag: Tag,
    /// Kernel address of the file or socket.
    pub(crate) object: u64,
    pub(crate) pid: u32,
    /// [`agentguard_common::file::Access`].
    pub(crate) want: u32,
}

/// How often it did. One that is forgotten is counted, and recorded, from one again.
#[map]
pub(crate) static INSISTENCE: LruHashMap<Insistence, u64> = LruHashMap::with_max_entries(8192, 0);
#[map]
pub(crate) static DENIALS: RingBuf = RingBuf::with_byte_size(DENIALS_RING_BYTES, 0);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_RING_BYTES, 0);
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_COUNT, 0);

/// Buffers per CPU. LSM programs can be preempted, so one is claimed for the time of a decision.
pub(crate) const SCRATCH_BUFFERS: u32 = 8;
/// Room behind the path buffer, so that for the verifier any masked position plus any length stays inside: of a path
/// alone, and of one with a second path behind it.
const SLACK: usize = 2 * MAX_PATH;

/// No state of a DFA.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// A path under construction (right-aligned at `HEADER_BYTES + MAX_PATH`), with room for an event header before it.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) busy: u64,
    /// Whether the path is the same for all tasks of the mount namespace.
    pub(crate) shared: u32,
    /// The state of the DFA behind the path's last slash, [`UNKNOWN`] until the path was read by it.
    pub(crate) parent_state: u32,
    pub(crate) bytes: [u8; HEADER_BYTES + MAX_PATH + SLACK],
}

#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCH_BUFFERS, 0);

/// Member offsets of the running kernel, from its BTF.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::ZERO;

/// Addresses of the running kernel's sequence locks, from its symbols.
#[unsafe(no_mangle)]
static SEQUENCES: Sequences = Sequences { renames: 0, mounts: 0, kind: 0 };

/// The addresses, as constants that the verifier knows; without both, 0.
#[inline(always)]
pub(crate) fn sequences() -> Sequences {
    // SAFETY: a read of a static; volatile so that the compiler does not fold the zeroes it sees.
    unsafe { core::ptr::read_volatile(&raw const SEQUENCES) }
}

/// Whether there are any, which is what the cache of directories needs: without them the verifier drops its code.
#[inline(always)]
pub(crate) fn has_sequences() -> bool {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const SEQUENCES.renames) != 0 }
}

/// Types of the running kernel by which a task's tag, and numbers at addresses, are read without a helper, from its BTF.
#[unsafe(no_mangle)]
static TYPES: Types = Types { word: 0, storage: 0 };

/// [`Types::word`], as a constant that the verifier knows; 0 without all types.
#[inline(always)]
pub(crate) fn word_type() -> u64 {
    // SAFETY: a read of a static; volatile so that the compiler does not fold the zeroes it sees.
    unsafe { core::ptr::read_volatile(&raw const TYPES.word) }
}

/// [`Types::storage`], the same.
#[inline(always)]
pub(crate) fn storage_type() -> u64 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const TYPES.storage) }
}

/// Which set of programs this is. A build that takes over from another gets the next number.
#[unsafe(no_mangle)]
static EPOCH: u32 = 0;

/// The number of this set of programs, as a constant that the verifier knows.
#[inline(always)]
fn epoch() -> u32 {
    // SAFETY: a read of a static; volatile so that the compiler does not fold the zero it sees.
    unsafe { core::ptr::read_volatile(&raw const EPOCH) }
}

/// Whether this set of programs records events: not while an older build still does.
#[inline(always)]
pub(crate) fn records() -> bool {
    // SAFETY: a live map value; the daemon writes single words.
    CONTROL.get_ptr(0).is_some_and(|control| unsafe { (*control).records(epoch()) })
}

/// Whether this set of programs counts tasks: exactly one does.
#[inline(always)]
pub(crate) fn counts() -> bool {
    // SAFETY: a live map value; the daemon writes single words.
    CONTROL.get_ptr(0).is_some_and(|control| unsafe { (*control).counts } == epoch())
}

/// One offset, as a constant that the verifier knows.
#[macro_export]
macro_rules! offset {
    ($field:ident) => {
        $crate::maps::offset_at(core::mem::offset_of!(agentguard_common::offsets::Offsets, $field))
    };
}

/// The offset that is at byte `at` of all of them.
#[inline(always)]
pub(crate) fn offset_at(at: usize) -> usize {
    // SAFETY: the place of a field; volatile so that the compiler does not fold the zero it sees.
    unsafe { core::ptr::read_volatile((&raw const OFFSETS).cast::<u8>().add(at).cast::<u32>()) as usize }
}

/// Adds one to a failure counter.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the entry is this CPU's own; a lost increment by preemption is harmless.
        unsafe { *value += 1 }
    }
}

/// The arena of compiled tables.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Arena(*const u32);

impl Arena {
    #[inline(always)]
    pub(crate) fn get() -> Option<Self> {
        ARENA.get_ptr(0).map(|words| Self(words.cast()))
    }
}

impl Words for Arena {
    #[inline(always)]
    fn word(&self, index: u32) -> u32 {
        let index = masked::<{ ARENA_WORDS as i32 - 1 }>(u64::from(index));
        // SAFETY: the masked index is inside the map value, which the verifier checks too.
        unsafe { core::ptr::read_volatile(self.0.add(index as usize)) }
    }

    #[inline(always)]
    fn byte(&self, index: u32, at: u8) -> u8 {
        let at = masked::<{ ARENA_WORDS as i32 * 4 - 1 }>((u64::from(index) << 2) + u64::from(at));
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(self.0.cast::<u8>().add(at as usize)) }
    }
}

/// `number & MASK`, in an instruction that the compiler can't see through: it would drop or move a mask that the verifier
/// wants to see. Unlike `black_box` it leaves everything in its register.
#[inline(always)]
pub(crate) fn masked<const MASK: i32>(number: u64) -> u64 {
    let mut number = number;
    #[cfg(target_arch = "bpf")]
    // SAFETY: one instruction on a register.
    unsafe {
        core::arch::asm!("{0} &= {1}", inout(reg) number, const MASK, options(pure, nomem, nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        number &= MASK as u64; // for lints on this host
    }
    number
}
