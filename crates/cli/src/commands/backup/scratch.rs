//! The copy of a store that a backup is made from: in the data folder, for as long as it takes.
//!
//! It is removed whatever happens, unless the process is killed: then it is found by its name, and
//! removed by whoever starts a server or makes a backup next. Whether somebody still needs one is
//! told by a lock on it, which ends with the process.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

const PREFIX: &str = "backup-";
const SUFFIX: &str = ".copy";
/// How often a file is made anew because somebody has taken it for left behind.
const TRIES_MAX: usize = 10;

/// A file for a copy in `folder`, locked and empty.
pub(super) fn create(folder: &Path) -> io::Result<NamedTempFile> {
    for _ in 0..TRIES_MAX {
        let made = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder)?;
        // Between the two somebody may have found it without a lock, and removed it.
        let is_ours = made.as_file().try_lock().is_ok();
        if is_ours && is_at(made.as_file(), made.path())? {
            return Ok(made);
        }
    }
    Err(io::Error::other("it is removed again and again"))
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes copies in `folder` that were left behind, with what the engine put beside them. How many
/// it were; what cannot be removed stays, and is told in our log.
pub(crate) fn remove_left_behind(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_copy =
            name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if !is_copy || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        match remove(&path) {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "a copy of the store is left behind");
            }
        }
    }
    removed
}

/// Whether it was left behind and is gone.
fn remove(path: &Path) -> io::Result<bool> {
    match File::open(path)?.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    for beside in ["-journal", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(beside);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::remove_file(path).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| {
            std::fs::write(folder.path().join(name), "x").expect("written");
            folder.path().join(name)
        };
        let stay = [file("accredit.db"), file("backup-1.age"), file("mine.copy"), file("backup-2")];
        let left = [file("backup-a1b2c3.copy"), file("backup-a1b2c3.copy-journal")];
        std::fs::create_dir(folder.path().join("backup-folder.copy")).expect("a folder");
        let in_use = create(folder.path()).expect("a file");
        assert_eq!(remove_left_behind(folder.path()), 1);
        assert!(left.iter().all(|path| !path.exists()));
        assert!(stay.iter().all(|path| path.exists()) && in_use.path().exists());
        assert!(folder.path().join("backup-folder.copy").exists());
        // As a process that is killed: its lock goes, its file stays.
        let path = in_use.into_temp_path().keep().expect("kept");
        assert_eq!(remove_left_behind(folder.path()), 1);
        assert!(!path.exists());
        assert_eq!(remove_left_behind(&folder.path().join("nowhere")), 0);
    }
}
