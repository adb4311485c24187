//! What survives a restart: files in a folder of one verifier's own.
//!
//! A file is replaced as a whole, by renaming, and readable by its owner only: what is in it is
//! signed by the issuer for the most part, but the witnessed state of the log and the pinned keys
//! are worth what the folder's protection is worth.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use accredit_wire::revocations::Follower;
use futures_util::FutureExt as _;

use crate::ambient;

/// Name of the file whose lock keeps a second process out.
const LOCK: &str = "lock";

/// A folder and the right to write to it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    _lock: Arc<File>,
}

impl StateDir {
    /// Makes the folder where it is missing, and takes its lock.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::from(io::ErrorKind::ResourceBusy),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_owned(), _lock: Arc::new(lock) })
    }

    /// The content of a file of at most `max` bytes; nothing where there is no such file.
    pub(super) fn read(&self, name: &str, max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(bytes))
    }

    /// Hands each line of a file, with its end, to `take`, until that says no: lines of at most `max`
    /// bytes. Says whether there is such a file.
    pub(super) fn read_lines(
        &self,
        name: &str,
        max: usize,
        mut take: impl FnMut(&str) -> bool,
    ) -> io::Result<bool> {
        let mut file = match File::open(self.path.join(name)) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut line = String::new();
        loop {
            line.clear();
            file.by_ref().take(max as u64 + 1).read_line(&mut line)?;
            if line.len() > max {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            if line.is_empty() || !take(&line) {
                return Ok(true);
            }
        }
    }

    /// Replaces a file: after a crash there is the old content or the new, never a part.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.write_all(name, [content])
    }

    /// The same, of what comes part by part.
    pub(super) fn write_all(
        &self,
        name: &str,
        parts: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> io::Result<()> {
        let target = self.path.join(name);
        let new = self.path.join(format!("{name}.new"));
        let file =
            private(OpenOptions::new().create(true).truncate(true).write(true)).open(&new)?;
        // The mode above counts only for a file that was made just now.
        set_private(&file)?;
        let mut writer = BufWriter::new(file);
        parts.into_iter().try_for_each(|part| writer.write_all(part.as_ref()))?;
        writer.into_inner()?.sync_all()?;
        fs::rename(&new, &target)?;
        File::open(&self.path)?.sync_all()
    }
}

/// Name of the file with the revocation state and the witnessed log.
pub(super) const FOLLOWER: &str = "revocations";

/// Name of the file with the issuer's keys.
pub(super) const KEYS: &str = "keys.json";

/// Writing the state takes at most this part of the time: a large state is written less often.
const WRITING_SHARE: u32 = 20;

/// But it is written again within this part of the age bound: with the third that lies between two
/// heartbeats, and the write itself, what a restart finds is still younger than the bound, unless a
/// write takes a fifth of it.
const KEPT_WITHIN: u32 = 4;

/// Writes the state of a follower, one write at a time and none of them in the follower's way.
#[derive(Debug)]
pub(super) struct Keeper {
    dir: Option<StateDir>,
    /// When the write ended, and how long it took.
    writing: Option<tokio::task::JoinHandle<(Instant, Duration)>>,
    not_before: Instant,
    age_max: Duration,
}

/// For how long nothing is written after a write that took so long.
fn pause(took: Duration, age_max: Duration) -> Duration {
    took.saturating_mul(WRITING_SHARE).min(age_max / KEPT_WITHIN)
}

impl Keeper {
    /// A keeper of states that are believed for `age_max`.
    pub(super) fn new(dir: Option<StateDir>, age_max: Duration) -> Self {
        Self { dir, writing: None, not_before: ambient::instant(), age_max }
    }

    /// Keeps what `follower` holds, unless the last time was just now: the next message, a
    /// heartbeat at the latest, brings it here again.
    ///
    /// A restart goes on from what was written. What came after is asked for anew, and that the log
    /// had been longer by then is not held against the issuer. The age of what was written counts
    /// on from when it was known ([`Anchor::signed_after`](accredit_wire::revocations::Anchor)), also
    /// while no process ran: whatever a slow disk or a long stop made of it, beyond the bound nothing
    /// is accepted by it.
    pub(super) fn keep(&mut self, follower: &Follower) {
        let Some(dir) = &self.dir else { return };
        if let Some(writing) = self.writing.take_if(|writing| writing.is_finished())
            && let Some(Ok((ended, took))) = writing.now_or_never()
        {
            self.not_before = ended + pause(took, self.age_max);
        }
        if self.writing.is_some() || ambient::instant() < self.not_before {
            return;
        }
        // The lines let go of the state piece by piece; nothing else may hold it meanwhile.
        let (dir, lines) = (dir.clone(), follower.lines(ambient::now()));
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let start = ambient::instant();
            let written = lines.map_or(Ok(()), |lines| dir.write_all(FOLLOWER, lines));
            if let Err(error) = written {
                tracing::error!(%error, "the revocation state cannot be kept");
            }
            (ambient::instant(), start.elapsed())
        }));
    }
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(unix)]
fn set_private(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(not(unix))]
fn set_private(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("er");
        let dir = StateDir::open(&path).expect("opened");
        assert_eq!(dir.read("keys", 10).expect("read"), None);
        dir.write("keys", b"long text").expect("written");
        dir.write("keys", b"short").expect("written");
        assert_eq!(dir.read("keys", 5).expect("read").as_deref(), Some(b"short".as_slice()));
        assert!(dir.read("keys", 4).is_err(), "beyond the bound");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(path.join("keys")).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn lines_are_read_one_by_one_and_within_a_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = StateDir::open(folder.path()).expect("opened");
        let read = |max: usize, until: usize| {
            let mut lines = Vec::new();
            let there = dir.read_lines("lines", max, |line| {
                lines.push(line.to_owned());
                lines.len() < until
            });
            there.map(|there| there.then_some(lines))
        };
        assert_eq!(read(9, 9).expect("read"), None);
        dir.write_all("lines", ["one\n", "", "and ", "two\n", "x"]).expect("written");
        assert_eq!(read(8, 9).expect("read").expect("there"), ["one\n", "and two\n", "x"]);
        assert_eq!(read(8, 1).expect("read").expect("there"), ["one\n"]);
        let kind = read(7, 9).expect_err("a line beyond the bound").kind();
        assert_eq!(kind, io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_slow_disk_does_not_let_the_kept_state_grow_old() {
        let age_max = Duration::from_mins(1);
        assert_eq!(pause(Duration::from_millis(5), age_max), Duration::from_millis(100));
        for slow in [Duration::from_secs(1), Duration::from_secs(40), Duration::MAX] {
            assert_eq!(pause(slow, age_max), Duration::from_secs(15), "{slow:?}");
        }
    }

    #[test]
    fn a_second_verifier_is_kept_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = StateDir::open(folder.path()).expect("opened");
        let kind = StateDir::open(folder.path()).expect_err("locked").kind();
        assert_eq!(kind, io::ErrorKind::ResourceBusy);
        drop(first);
        StateDir::open(folder.path()).expect("free again");
    }
}
