//! The disk of `shim/disk.c` under a process: compiled here, told here what to do.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::stage::binary;
use crate::stage::server::Folder;

/// Bytes of the control file.
const CONTROL_BYTES: usize = 64;

/// What a disk does.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Good,
    Full,
    ReadOnly,
    SyncsFail,
}

/// A disk on which a folder's `data` lies.
pub(super) struct Disk {
    folder: Folder,
    control: File,
    records: bool,
}

/// The shared library, compiled once for this process.
fn library() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| binary::shim("disk"))
}

impl Disk {
    /// A good disk; one that records writes down everything that is written.
    pub(super) fn new(folder: &Folder, records: bool) -> Self {
        let control = File::create(folder.file("disk.control")).expect("a file");
        let disk = Self { folder: folder.clone(), control, records };
        disk.control.write_all_at(&[0; CONTROL_BYTES], 0).expect("written");
        disk.become_(State::Good);
        disk
    }

    /// Puts it under a process that has not been started.
    pub(super) fn under(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("DISK_FOLDER", self.folder.data())
            .env("DISK_CONTROL", self.folder.file("disk.control"));
        if self.records {
            command.env("DISK_TRACE", self.trace());
        }
    }

    /// Where it records.
    pub(super) fn trace(&self) -> String {
        self.folder.file("disk.trace")
    }

    /// Changes it under a running process.
    pub(super) fn become_(&self, state: State) {
        let byte = match state {
            State::Good => b'0',
            State::Full => b'F',
            State::ReadOnly => b'R',
            State::SyncsFail => b'E',
        };
        self.control.write_all_at(&[byte], 0).expect("written");
    }

    /// Delays every sync from now on.
    pub(super) fn delay(&self, by: Duration) {
        let millis = u32::try_from(by.as_millis()).expect("a short time");
        self.control.write_all_at(&millis.to_le_bytes(), 8).expect("written");
    }
}
