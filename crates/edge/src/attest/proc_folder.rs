//! proc(5): the folder of one process, held open.
//!
//! What is read through a folder that is held is of the process that it was opened for or it is an error:
//! the kernel gives nothing of a later process that got the same id. So an id is looked up once, and
//! whether the process behind it is the right one is asked once, of its descriptor.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat, statat};

use super::Unattested;
use crate::peer::Peer;
use crate::process::{ProcessKey, Stat};

/// The longest file of the kernel's that is read here, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Which file it is, whatever it is called: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(stat: &rustix::fs::Stat) -> Self {
        #[cfg_attr(
            target_os = "linux",
            expect(clippy::useless_conversion, reason = "they are of other types elsewhere")
        )]
        Self { device: u64::try_from(stat.st_dev).unwrap_or_default(), inode: stat.st_ino.into() }
    }
}

/// `/proc/<pid>` of one process, and what the kernel said of it when it connected.
#[derive(Debug)]
pub struct ProcFolder {
    folder: OwnedFd,
    /// Its user when it connected.
    pub uid: u32,
    /// Its group when it connected.
    pub gid: u32,
}

impl ProcFolder {
    /// That of a process which is held, and so cannot be another one.
    pub fn of(peer: &Peer) -> Result<Self, Unattested> {
        let path = PathBuf::from(format!("/proc/{}", peer.pid));
        let found = Self::at(&path, peer.uid, peer.gid).map_err(|_| Unattested::Gone)?;
        // The folder that was opened is that of the held process if that one is still there now.
        let is_it = found.started() == Some(peer.started) && peer.is_alive();
        if is_it { Ok(found) } else { Err(Unattested::Gone) }
    }

    /// A folder that looks like one, with what the kernel is to have said.
    pub fn at(path: &Path, uid: u32, gid: u32) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { folder: openat(CWD, path, flags, Mode::empty())?, uid, gid })
    }

    /// Which file a process executes that is not held; nothing where it is over by now.
    pub fn runs((pid, started): ProcessKey) -> Option<FileId> {
        let found = Self::at(&PathBuf::from(format!("/proc/{pid}")), 0, 0).ok()?;
        (found.started() == Some(started)).then(|| found.executable())?
    }

    /// When it began, ticks after the machine did.
    pub fn started(&self) -> Option<u64> {
        let stat = Stat::parse(&self.text("stat")?).ok()?;
        Some(stat.started)
    }

    /// One of its files, where it is text and not too long.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&self.folder, name, flags, Mode::empty()).ok()?;
        let mut text = String::new();
        File::from(file).take(FILE_BYTES_MAX + 1).read_to_string(&mut text).ok()?;
        (text.len() as u64 <= FILE_BYTES_MAX).then_some(text)
    }

    /// The file that it executes, open. Not found by its name: whatever became of that, this is the file.
    pub(super) fn open_executable(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(File::from(openat(&self.folder, "exe", flags, Mode::empty())?))
    }

    /// What that file was called, as the kernel writes it.
    pub(super) fn executable_name(&self) -> Option<String> {
        readlinkat(&self.folder, "exe", Vec::new()).ok()?.into_string().ok()
    }

    /// Which file it executes; nothing where this process may not know.
    pub fn executable(&self) -> Option<FileId> {
        let found = statat(&self.folder, "exe", AtFlags::empty()).ok()?;
        Some(FileId::of(&found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_runs_is_told_of_the_one_that_began_then() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let started = Stat::of(own).expect("this process").started;
        let itself = std::env::current_exe().and_then(|path| Ok(rustix::fs::stat(path)?));
        let itself = FileId::of(&itself.expect("its file"));
        assert_eq!(ProcFolder::runs((own, started)), Some(itself));
        assert_eq!(ProcFolder::runs((own, started + 1)), None);
        assert_eq!(ProcFolder::runs((own, 0)), None);
    }
}
