//! Waiting for something to appear in a file.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::level::deadline;

/// Waits until `find` finds something in the text of `file`, which need not exist yet.
///
/// # Panics
/// After the deadline, with `what` was awaited and the text.
pub fn until<T>(file: &Path, what: &str, find: impl FnMut(&str) -> Option<T>) -> T {
    until_after(file, 0, what, find)
}

/// The text of `file` behind its first `start` bytes.
#[must_use]
pub fn text_after(file: &Path, start: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(file) {
        file.seek(SeekFrom::Start(start)).and_then(|_| file.read_to_end(&mut bytes)).expect("the file");
    }
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// As [`until`], in what is behind the first `start` bytes.
///
/// # Panics
/// As [`until`].
pub fn until_after<T>(file: &Path, start: u64, what: &str, mut find: impl FnMut(&str) -> Option<T>) -> T {
    let give_up = Instant::now() + deadline();
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).expect("inotify");
    let target = file.canonicalize(); // it may be a link
    let parent = target.as_deref().unwrap_or(file).parent().expect("a file is in a directory");
    // Watching starts before the first look, so no change is missed.
    inotify.add_watch(parent, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE).expect("inotify watch");
    loop {
        let text = text_after(file, start);
        if let Some(found) = find(&text) {
            return found;
        }
        let left = give_up.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no {what} in {} after {:?}:\n{text}", file.display(), deadline());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], timeout);
        let _ = inotify.read_events(); // only drains: the file is read again
    }
}
