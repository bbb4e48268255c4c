//! Cgroups of tests.

use std::path::{Path, PathBuf};

/// A cgroup, removed in the end; what is left in it is killed.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one directly below the root, with a name that no other test has.
    ///
    /// # Panics
    /// If cgroup v2 is not mounted.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists()).expect("cgroup v2");
        let path = root.join(format!("test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self(path)
    }

    #[must_use]
    pub fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// Moves a process there.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn take(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("moving a process");
    }

    /// Removes the directory, once nobody is in it any more.
    ///
    /// # Panics
    /// After the deadline.
    pub fn remove(self) {
        self.try_remove().unwrap_or_else(|e| panic!("{}: {e}", self.0.display()));
    }

    fn try_remove(&self) -> std::io::Result<()> {
        let give_up = std::time::Instant::now() + crate::level::deadline();
        loop {
            match std::fs::remove_dir(&self.0) {
                // The last process is on its way out.
                Err(e)
                    if e.kind() == std::io::ErrorKind::ResourceBusy
                        && std::time::Instant::now() < give_up =>
                {
                    std::thread::sleep(std::time::Duration::from_millis(1)); // inotify tells before the task has left
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                other => return other,
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1"); // it may be gone
        let _ = self.try_remove();
    }
}
