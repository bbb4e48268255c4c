use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "pin-directory",
    group: Group::Protection,
    tries: "Make a directory where BPF objects are pinned",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["path"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let root = "/sys/fs/bpf";
    if statfs(root).step("statfs")?.filesystem_type() != BPF_FS_MAGIC {
        return Err(Stop::absent("a BPF file system"));
    }
    let directory = format!("{root}/corpus-{}", std::process::id());
    std::fs::create_dir(&directory).step("mkdir")?;
    std::fs::remove_dir(directory).step("rmdir")
}
