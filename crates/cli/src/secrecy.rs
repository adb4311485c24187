//! Who may read a file with a secret: its owner, and nobody else.
//!
//! One way of keeping secrets has no such file: what Kubernetes mounts belongs to root, and the process
//! reads it by a group of its own (`fsGroup`). That is taken, too: root reads everything anyway.

use std::fs::Metadata;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};
use zeroize::Zeroizing;

use crate::errors::Failure;

/// What anybody but the owner may do with a file.
const OTHERS: u32 = 0o077;
/// The same without what its group may read.
const OTHERS_BUT_GROUP_READS: u32 = 0o037;

/// The mode of a file with a secret, where somebody else than this process may read or change it.
pub(crate) fn open_to_others(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.mode() & 0o777;
    let is_ours = mode & OTHERS == 0 || mode & OTHERS_BUT_GROUP_READS == 0 && is_mounted(metadata);
    (!is_ours).then_some(mode)
}

/// Writes a new key to a file that only its owner can read, and that is synced then. Where there is a
/// file of that name, nothing is made and it is left as it is.
pub(crate) fn write_new_key(
    file: &Path,
    make: impl FnOnce() -> Result<Zeroizing<String>, Failure>,
) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(file);
    let failed = |error: &std::io::Error| {
        let title = format!("the key `{}` was not written", file.display());
        Failure::file(&title, error, "choose another folder")
    };
    match made {
        Ok(mut made) => {
            let text = make()?;
            let written = made.write_all(text.as_bytes()).and_then(|()| made.sync_all());
            written.map_err(|error| failed(&error))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

/// Whether root put it there for a group that this process is in, and for no process of root's.
fn is_mounted(metadata: &Metadata) -> bool {
    if metadata.uid() != 0 || geteuid().is_root() {
        return false;
    }
    let group = metadata.gid();
    let further = || getgroups().unwrap_or_default();
    getegid().as_raw() == group || further().iter().any(|other| other.as_raw() == group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn nobody_but_the_owner_may_read_what_is_ones_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        File::create(&file).expect("a file");
        for (mode, is_open) in [
            (0o600, false),
            (0o400, false),
            (0o440, true),
            (0o640, true),
            (0o604, true),
            (0o620, true),
            (0o610, true),
        ] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).expect("set");
            let found = open_to_others(&std::fs::metadata(&file).expect("there"));
            assert_eq!(found, is_open.then_some(mode), "{mode:o}");
        }
    }
}
