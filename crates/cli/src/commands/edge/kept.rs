//! What a node keeps so that it comes back after a restart: its key, and what it left behind.
//!
//! The price of it is a key in a file, with which whoever reads it is this node: the folder and the file
//! are its user's alone. Written before it is needed and moved into place, so that it is whole.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use accredit_edge::workloads::Left;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::errors::Failure;
use crate::{input, secrecy};

const NODE: &str = "node.json";
const LEFT: &str = "left.json";

/// A folder of this process's own.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// A node.
pub(super) struct KeptNode {
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) instance: String,
    /// PKCS #8.
    pub(super) key: Zeroizing<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    issuer: String,
    client_id: String,
    instance: String,
    key: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeftFile {
    boot: String,
    left: Vec<Left>,
}

impl Folder {
    /// The folder, made where there is none. One that is another's, or that others may look into, is refused.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let name = format!("`{}`", path.display());
        let failed = |error: &std::io::Error| {
            Failure::file(&format!("{name} could not be used"), error, "choose another folder")
        };
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&error)),
            _ => {}
        }
        let found = std::fs::metadata(path).map_err(|error| failed(&error))?;
        let is_ours = found.is_dir()
            && found.uid() == geteuid().as_raw()
            && secrecy::open_to_others(&found).is_none();
        if is_ours {
            return Ok(Self(path.to_owned()));
        }
        let detail = "a key is kept there, and others than this user may look into it";
        let hint = format!("chmod 700 {}, as the user that runs this", path.display());
        Err(Failure::usage(&format!("{name} is no folder for a key"), detail, &hint))
    }

    /// The node that is kept, where there is one.
    pub(super) fn node(&self) -> Result<Option<KeptNode>, Failure> {
        let Some(file) = self.read::<NodeFile>(NODE)? else { return Ok(None) };
        let NodeFile { issuer, client_id, instance, key } = file;
        let text = Zeroizing::new(key);
        let key = STANDARD.decode(text.as_bytes()).map_err(|_| self.broken(NODE))?;
        Ok(Some(KeptNode { issuer, client_id, instance, key: Zeroizing::new(key) }))
    }

    /// Keeps a node.
    pub(super) fn keep_node(&self, node: &KeptNode) -> Result<(), Failure> {
        let mut file = NodeFile {
            issuer: node.issuer.clone(),
            client_id: node.client_id.clone(),
            instance: node.instance.clone(),
            key: STANDARD.encode(&*node.key),
        };
        let written = self.write(NODE, &file);
        file.key.zeroize();
        written
    }

    /// What was left the last time and on which start of the machine; it is not told again.
    pub(super) fn take_left(&self) -> Result<(String, Vec<Left>), Failure> {
        let found = self.read::<LeftFile>(LEFT)?.unwrap_or_default();
        match std::fs::remove_file(self.0.join(LEFT)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed(LEFT, &error)),
            _ => Ok((found.boot, found.left)),
        }
    }

    /// Keeps what is left.
    pub(super) fn keep_left(&self, boot: &str, left: &[Left]) -> Result<(), Failure> {
        self.write(LEFT, &LeftFile { boot: boot.to_owned(), left: left.to_vec() })
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, Failure> {
        let path = self.0.join(name);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(name, &error)),
            Ok(found) => {
                if let Some(mode) = secrecy::open_to_others(&found) {
                    let title = format!("`{}` cannot be used", path.display());
                    let detail = format!("others can read it (mode {mode:o})");
                    let hint = format!("chmod 600 {}", path.display());
                    return Err(Failure::usage(&title, &detail, &hint));
                }
            }
        }
        let text = Zeroizing::new(input::text(&path)?);
        serde_json::from_str(&text).map(Some).map_err(|_| self.broken(name))
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map(Zeroizing::new);
        let text = text.map_err(|error| self.failed(name, &std::io::Error::other(error)))?;
        let (path, new) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let written = || {
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.0)?.sync_all()
        };
        written().map_err(|error| self.failed(name, &error))
    }

    fn failed(&self, name: &str, error: &std::io::Error) -> Failure {
        let title = format!("`{}` could not be used", self.0.join(name).display());
        Failure::file(&title, error, "check the folder of --state-dir and its permissions")
    }

    fn broken(&self, name: &str) -> Failure {
        let path = self.0.join(name);
        let hint = format!("remove {} and join anew: `accredit edge invite`", path.display());
        Failure::usage(
            &format!("`{}` is not whole", path.display()),
            "it was not written so",
            &hint,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn node() -> KeptNode {
        KeptNode {
            issuer: "https://id.example/o/dev".to_owned(),
            client_id: "agt_1".to_owned(),
            instance: "ins_1".to_owned(),
            key: Zeroizing::new(vec![1, 2, 3]),
        }
    }

    #[test]
    fn a_node_is_kept_for_its_user_alone_and_comes_back() {
        let above = tempfile::tempdir().expect("a folder");
        let path = above.path().join("node");
        let folder = Folder::open(&path).expect("made");
        assert!(folder.node().expect("none").is_none());
        folder.keep_node(&node()).expect("kept");
        folder.keep_node(&node()).expect("kept again");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(NODE))), (0o700, 0o600));
        let kept = Folder::open(&path).expect("there").node().expect("read").expect("one");
        assert_eq!((&*kept.instance, &**kept.key), ("ins_1", &[1, 2, 3][..]));

        std::fs::set_permissions(path.join(NODE), Permissions::from_mode(0o640)).expect("set");
        assert!(folder.node().is_err(), "others can read it");
        for open in [0o750, 0o701, 0o777] {
            std::fs::set_permissions(&path, Permissions::from_mode(open)).expect("set");
            assert!(Folder::open(&path).is_err(), "{open:o}");
        }
        std::fs::write(above.path().join("file"), "").expect("written");
        assert!(Folder::open(&above.path().join("file")).is_err());
    }

    #[test]
    fn what_was_left_is_told_once() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(&above.path().join("node")).expect("made");
        let left = Left { instance: "ins_2".to_owned(), pid: 7, started: 8 };
        folder.keep_left("boot", std::slice::from_ref(&left)).expect("kept");
        assert_eq!(folder.take_left().expect("read"), ("boot".to_owned(), vec![left]));
        assert_eq!(folder.take_left().expect("read"), (String::new(), Vec::new()));
        std::fs::write(folder.0.join(NODE), "{}").expect("written");
        std::fs::set_permissions(folder.0.join(NODE), Permissions::from_mode(0o600)).expect("set");
        assert!(folder.node().is_err(), "it is not whole");
    }
}
