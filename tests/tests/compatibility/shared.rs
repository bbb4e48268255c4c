//! The daemon that all workloads share: at level `lsm` starting one takes longer than most of them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use agentguard_tests::Site;
use agentguard_tests::daemon::Daemon;

static DAEMON: Mutex<Option<(Site, Daemon)>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<(Site, Daemon)>> {
    DAEMON.lock().unwrap_or_else(PoisonError::into_inner) // it is whole, or there is none
}

/// Gives `work` the daemon's site, and starts the daemon if this is the first. Not for long: others wait.
///
/// # Panics
/// If it does not start.
pub(crate) fn with_site<T>(work: impl FnOnce(&Site) -> T) -> T {
    let mut shared = lock();
    let (site, _) = shared.get_or_insert_with(|| {
        let site = Site::new();
        let daemon = site.daemon();
        // SAFETY: registers a function without arguments that lives as long as the program.
        let registered = unsafe { libc::atexit(stop) };
        assert_eq!(registered, 0, "atexit");
        (site, daemon)
    });
    work(site)
}

/// Runs after the last test. A panic ends the program with a signal, which whoever runs the tests sees.
extern "C" fn stop() {
    if let Some((site, daemon)) = lock().take() {
        daemon.stop(&site, libc::SIGTERM);
    }
}
