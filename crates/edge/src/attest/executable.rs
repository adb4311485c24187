//! proc(5), execve(2): the file that a process executes, by what it is called and by what is in it.
//!
//! The digest is of what the process's own `exe` descriptor reads, never of what lies at a path. The path
//! is told only where that same file lies there now, as this daemon sees it: not of a file that was
//! removed or replaced, and not of one that another mount namespace calls so. Of a file whose contents
//! another process makes up as it is read (FUSE) nothing is told. An interpreter is told as one by its name,
//! and under another name by what it holds, where this machine has it in one of the usual folders.
//!
//! What a file holds is not who steers it: whoever may start a program gives it its arguments, its
//! environment and its libraries. So a rule names a user or a unit beside it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use accredit_wire::selectors::interpreter_of;
use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::{FileType, Stat, fstat, stat};

use super::{Attestor, FileId, ProcFolder, Selector, Told, Unattested};

/// The largest file whose digest is told, bytes. Larger programs there are, but none that anybody waits for.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Files whose digests are remembered. Beyond it all are forgotten, which costs each one reading more.
const DIGESTS_MAX: usize = 1024;
/// Where interpreters are looked for, how many files in each, and how many are known.
const FOLDERS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];
const ENTRIES_MAX: usize = 20_000;
const INSTALLED_MAX: usize = 1024;
/// How much is read at once.
const PIECE_BYTES: usize = 128 * 1024;
/// What the kernel writes behind the name of a file that has none any more.
const DELETED: &str = " (deleted)";
/// FUSE in statfs(2).
#[cfg(target_os = "linux")]
const FUSE: u64 = 0x6573_5546;

/// The file that a process executes.
#[derive(Debug, Default)]
pub struct Executable {
    digests: Mutex<HashMap<Version, String>>,
    /// Interpreters that lie where they are looked for, with their sizes.
    installed: OnceLock<Vec<(PathBuf, i64, &'static str)>>,
}

/// One state of one file: the kernel changes the last of these times with whatever is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Version {
    file: FileId,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(stat: &Stat) -> Self {
        Self {
            file: FileId::of(stat),
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }
}

impl Attestor for Executable {
    fn selectors(&self) -> &'static [Selector] {
        &[Selector::Path, Selector::Sha256, Selector::Interpreter]
    }

    fn attest(&self, process: &ProcFolder, told: &mut Told) -> Result<(), Unattested> {
        let file = match process.open_executable() {
            Ok(file) => file,
            Err(error) => {
                unreadable(&error);
                return Ok(());
            }
        };
        let Ok(found) = fstat(&file) else { return Ok(()) };
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || is_made_up(&file) {
            return Ok(());
        }
        if let Some(name) = process.executable_name() {
            named(&name, FileId::of(&found), told);
        }
        if let Some(digest) = self.digest(file, &found) {
            if told.get(Selector::Interpreter).is_none()
                && let Some(known) = self.disguised(&digest, found.st_size)
            {
                told.tell(Selector::Interpreter, known);
            }
            told.tell(Selector::Sha256, digest);
        }
        Ok(())
    }
}

impl Executable {
    /// The digest of an open file, read where it is not known of this very state of the file.
    fn digest(&self, file: File, found: &Stat) -> Option<String> {
        let version = Version::of(found);
        if let Some(digest) = self.digests().get(&version) {
            return Some(digest.clone());
        }
        if u64::try_from(version.size).is_ok_and(|size| size > FILE_BYTES_MAX) {
            tracing::warn!("a program is too large for its digest to be told");
            return None;
        }
        let (digest, read) = sha256(&file).ok()?;
        let after = fstat(&file).ok().map(|after| Version::of(&after));
        if after != Some(version) || i64::try_from(read) != Ok(version.size) {
            return None;
        }
        let mut digests = self.digests();
        if digests.len() >= DIGESTS_MAX {
            digests.clear();
        }
        digests.insert(version, digest.clone());
        Some(digest)
    }

    /// Which interpreter of this machine a program is under another name.
    fn disguised(&self, digest: &str, size: i64) -> Option<&'static str> {
        let installed = self.installed.get_or_init(installed);
        let same = installed.iter().filter(|(_, other, _)| *other == size);
        let mut same = same.filter_map(|(path, _, known)| Some((File::open(path).ok()?, known)));
        let is_it = |file: File| {
            let found = fstat(&file).ok()?;
            self.digest(file, &found).filter(|other| other == digest)
        };
        same.find_map(|(file, known)| is_it(file).map(|_| *known))
    }

    fn digests(&self) -> std::sync::MutexGuard<'_, HashMap<Version, String>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it is called, where it lies there now, and whether it is an interpreter, wherever it lies.
fn named(name: &str, file: FileId, told: &mut Told) {
    let bare = name.strip_suffix(DELETED).unwrap_or(name);
    if let Some(known) = bare.rsplit('/').next().and_then(interpreter_of) {
        told.tell(Selector::Interpreter, known);
    }
    // As it lies there now: a file may itself be called ` (deleted)`.
    let is_there = stat(name).is_ok_and(|found| FileId::of(&found) == file);
    if name.starts_with('/') && is_there {
        told.tell(Selector::Path, name);
    }
}

/// The interpreters in the folders where systems have them, found once.
fn installed() -> Vec<(PathBuf, i64, &'static str)> {
    let folders = FOLDERS.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let files = folders.flat_map(|entries| entries.filter_map(Result::ok).take(ENTRIES_MAX));
    let known = files.filter_map(|entry| {
        let known = interpreter_of(entry.file_name().to_str()?)?;
        let found = stat(entry.path()).ok()?;
        Some((entry.path(), found.st_size, known))
    });
    known.take(INSTALLED_MAX).collect()
}

/// The digest and how much was read.
fn sha256(file: &File) -> io::Result<(String, u64)> {
    use std::fmt::Write as _;
    let (mut context, mut read) = (Context::new(&SHA256), 0u64);
    let mut file = file.take(FILE_BYTES_MAX + 1);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut piece)?;
        let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        context.update(bytes);
        read += count as u64;
    }
    let mut text = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok((text, read))
}

/// Says once that programs of others cannot be read here.
fn unreadable(error: &io::Error) {
    static SAID: std::sync::Once = std::sync::Once::new();
    if error.kind() == io::ErrorKind::PermissionDenied {
        SAID.call_once(|| {
            tracing::warn!(
                "the program of a process may not be read, so no path and no digest is told of it; \
                 for processes of other users this daemon needs CAP_SYS_PTRACE, or root"
            );
        });
    }
}

/// Whether a file's contents are made up by a process as it is read.
#[cfg(target_os = "linux")]
fn is_made_up(file: &File) -> bool {
    !rustix::fs::fstatfs(file).is_ok_and(|found| u64::try_from(found.f_type) != Ok(FUSE))
}

#[cfg(not(target_os = "linux"))]
fn is_made_up(_: &File) -> bool {
    true
}
